"""harvest against TransformerLens row by row and against a plain Hugging Face forward."""

from __future__ import annotations

import json

import pytest
import torch

from saekit.activations import harvest
from saekit.corpora import Corpus, Document, load_corpus
from saekit.models import check_site, forward, load_model

PRE, POST = "blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"
TEXTS = ["the cat sat in the house", "a", "", "the dog and the cat " * 8, "in the hat"] * 5  # 25 documents, 2 batches


@pytest.fixture(params=["tiny_gpt2", "tiny_llama"])
def model(request):
    return request.getfixturevalue(request.param)


def test_equals_run_with_cache_of_each_row_without_its_padding(model):
    hooks = [POST, "blocks.0.hook_mlp_out", "blocks.1.attn.hook_z"]
    acts = harvest(model, TEXTS, hooks)
    assert list(acts) == hooks and len(acts) == 3
    assert len(acts.tokens) > 25 and acts[POST].shape == (*acts.tokens.shape, 16)  # windows: more rows than documents
    assert acts["blocks.1.attn.hook_z"].shape == (*acts.tokens.shape, 4, 4)
    for r, row in enumerate(acts.tokens):
        length = 1 + int((acts.rows.positions[r] >= 0).sum())
        with torch.no_grad():
            _, cache = model.run_with_cache(row[None, :length])
        for hook in hooks:
            torch.testing.assert_close(acts[hook][r, :length], cache[hook][0], rtol=1e-5, atol=1e-5)


def test_flat_holds_the_counted_tokens_row_after_row(model):
    acts = harvest(model, TEXTS, POST)
    flat = acts.flat(POST)
    by_hand = [acts[POST][r, p] for r in range(len(acts.rows)) for p in range(acts.mask.shape[1]) if acts.mask[r, p]]
    assert torch.equal(flat, torch.stack(by_hand))
    with pytest.raises(KeyError, match=r"harvested at 'blocks.0.hook_resid_pre'; the only one is 'blocks.1"):
        acts[PRE]


def test_stopping_early_changes_nothing_and_does_stop(model):
    """The bridge, at a site that only it has; the fast path stops early too, see test_fast."""
    site, ran = "blocks.0.ln2.hook_normalized", []
    handle = model.blocks[1].register_forward_hook(lambda *_: ran.append(1))
    try:
        early = harvest(model, TEXTS[:4], [site])
        assert not ran
        late = harvest(model, TEXTS[:4], [site, POST])
        assert ran
    finally:
        handle.remove()
    assert torch.equal(early[site], late[site])


def test_every_hook_of_the_model_is_harvested_or_refused_in_a_sentence(model):
    tokens = torch.tensor([[0, 5, 6, 7]])
    fired = 0
    for hook in model.hook_dict:
        try:
            assert list(forward(model, tokens, check_site(model, hook)).kept) == [hook]
            fired += 1
        except ValueError as error:
            assert "fire" in str(error)
    assert fired > 80


def test_provenance(model):
    corpus = load_corpus(TEXTS)
    found = harvest(model, corpus, POST, exclude=["<|end|>"]).provenance
    assert found["model_hash"] == model.model_hash and found["processing"] == "none" and found["sites"] == [POST]
    assert found["corpus"]["fingerprint"] == corpus.fingerprint
    acts = harvest(model, ["the<|end|>cat", "a"], POST, exclude=["<|end|>"])
    assert acts.provenance["tokens"] == int(acts.mask.sum())
    assert acts.provenance["excluded"] == {"bos": 2, "special": 1, "cut": 0}
    given = {"input_ids": acts.tokens, "attention_mask": acts.rows.kept}
    assert "corpus" not in harvest(model, given, POST).provenance


@pytest.mark.parametrize("n", [1, 5, 6, 7, 31, 60, 100])
def test_tokens_counts_exactly_so_many(model, n):
    every = harvest(model, TEXTS, POST)
    some = harvest(model, TEXTS, POST, tokens=n)
    assert some.provenance["tokens"] == n == int(some.mask.sum())
    torch.testing.assert_close(some.flat(POST), every.flat(POST)[:n], rtol=1e-5, atol=1e-5)
    assert some.mask[-1].any()  # no row more than is needed
    assert some.provenance["excluded"]["bos"] == len(some.rows)  # what was left out of these rows, not of others


def test_tokens_of_a_tensor_and_more_tokens_than_there_are(model):
    tensor = torch.randint(5, 290, (20, 6), generator=torch.Generator().manual_seed(0))
    tensor[:, 0] = 0
    some = harvest(model, tensor, POST, tokens=12)
    assert int(some.mask.sum()) == 12 and len(some.rows) == 3
    assert some.provenance["excluded"] == {"bos": 3, "special": 0, "cut": 0}
    assert int(harvest(model, tensor, POST, tokens=10_000).mask.sum()) == 100


def test_cut_documents_of_the_rows_that_are_kept(model):
    texts = ["a" * 40, "the cat", "a" * 50]
    assert harvest(model, texts, POST, long="cut").provenance["excluded"]["cut"] == 9 + 19
    assert harvest(model, texts, POST, long="cut", tokens=31).provenance["excluded"]["cut"] == 9


def test_an_endless_corpus_needs_tokens(model):
    corpus = Corpus(lambda: (Document(text) for _ in range(10_000) for text in TEXTS), name="for ever")
    with pytest.raises(ValueError, match="'for ever' has no end: say how many tokens"):
        harvest(model, corpus, POST)
    assert int(harvest(model, corpus, POST, tokens=70).mask.sum()) == 70


@pytest.mark.parametrize("source", [[""], ["", ""], torch.zeros(3, 1, dtype=torch.long), torch.zeros(0, 4).long()])
@pytest.mark.parametrize("tokens", [None, 5])
def test_nothing_to_count_is_an_error(model, source, tokens):
    with pytest.raises(ValueError, match="no token to count"):
        harvest(model, source, POST, tokens=tokens)


def test_an_empty_corpus_is_an_error(model):
    with pytest.raises(ValueError, match="empty"):
        harvest(model, [], POST)
    with pytest.raises(ValueError, match="no token to count"):
        harvest(model, torch.zeros(3, 0, dtype=torch.long), POST, tokens=5)


@pytest.mark.parametrize("tokens", [0, -3])
def test_a_number_of_tokens_below_one(model, tokens):
    with pytest.raises(ValueError, match=f"tokens must be at least 1, found {tokens}"):
        harvest(model, TEXTS, POST, tokens=tokens)


def test_everything_excluded_is_an_error(model):
    with pytest.raises(ValueError, match="everything in it is excluded"):
        harvest(model, ["<|end|>", "<|end|><|end|>"], POST, exclude=["<|end|>"])


@pytest.mark.parametrize(("poison", "kind"), [(float("nan"), "NaN"), (float("inf"), "NaN|infinite")])
def test_activations_that_are_not_finite_name_the_batch(tiny_llama_folder, poison, kind):
    model = load_model(tiny_llama_folder, device="cpu")
    texts = ["the cat"] * 16 + ["the dog"] * 4  # " dog" is first seen in the second batch
    dog = model.tokenizer(" dog", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        model.original_model.get_input_embeddings().weight[dog] = poison
    with pytest.raises(ValueError, match=rf"({kind}) activations at 'blocks.1.hook_resid_post' in batch 1:.*dtype"):
        harvest(model, texts, POST)
    assert bool(torch.isfinite(harvest(model, texts[:16], POST).flat(POST)).all())


def test_an_unknown_hook_names_the_closest(model):
    with pytest.raises(ValueError, match=r"'blocks.1.hook_resid_pots'; the closest is 'blocks.1.hook_resid_post'"):
        harvest(model, TEXTS, [PRE, "blocks.1.hook_resid_pots"])
    with pytest.raises(ValueError, match=r"'blocks.2.hook_resid_post'; the closest is 'blocks.\d.hook_resid_post'"):
        harvest(model, TEXTS, "blocks.2.hook_resid_post")


def test_a_gated_hook_says_what_to_call(tiny_llama_folder):
    model = load_model(tiny_llama_folder, device="cpu")
    with pytest.raises(ValueError, match=r"does not fire until model.set_use_hook_mlp_in\(True\) is called"):
        harvest(model, TEXTS, "blocks.0.hook_mlp_in")
    model.set_use_hook_mlp_in(True)
    assert harvest(model, TEXTS, "blocks.0.hook_mlp_in")["blocks.0.hook_mlp_in"].shape[-1] == 16


def test_dropout_is_off_meanwhile_and_the_mode_put_back(tiny_gpt2_folder):
    model = load_model(tiny_gpt2_folder, device="cpu")
    expected = harvest(model, TEXTS, POST)[POST]
    model.train()
    with torch.no_grad():
        tokens = torch.tensor([[0, 5, 6, 7]])
        assert not torch.equal(model(tokens), model(tokens))  # dropout is on
    assert torch.equal(harvest(model, TEXTS, POST)[POST], expected)
    assert model.training
    assert not any(point.fwd_hooks for point in model.hook_dict.values())  # no hook is left behind


def test_the_real_model_equals_a_plain_hugging_face_forward(real_folder):
    from transformers import AutoModelForCausalLM

    folder = real_folder / "stories260K"
    texts = json.loads((real_folder / "tinystories" / "tinystories_1000.json").read_text(encoding="utf-8"))
    texts = [item if isinstance(item, str) else next(v for v in item.values() if isinstance(v, str)) for item in texts]
    hooks = ["blocks.1.hook_resid_post", "blocks.3.hook_resid_post"]
    acts = harvest(load_model(folder, device="cpu"), texts[:6], hooks)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for r, row in enumerate(acts.tokens):
        length = 1 + int(acts.mask[r].sum())
        assert row[0] == 1
        with torch.no_grad():
            hidden = plain(row[None, :length], output_hidden_states=True).hidden_states
        for hook, layer in zip(hooks, (2, 4), strict=True):
            gap = (acts[hook][r, :length] - hidden[layer][0]).norm() / hidden[layer][0].norm()
            assert gap < 1e-5, (r, hook, gap)


def test_padding_holds_what_the_model_gives_there(tiny_gpt2, monkeypatch):
    """So that a row is the same whether it was read alone or beside longer ones."""
    monkeypatch.setattr("saekit.models.fast.POSITIONS_AT_ONCE", 8)
    site = "blocks.1.hook_resid_post"
    acts = harvest(tiny_gpt2, ["the cat sat on a mat", "the dog", "he is in it"], site)
    assert not acts.mask[1].all()
    as_text = {"input_ids": acts.tokens[1:2], "attention_mask": torch.ones_like(acts.tokens[1:2])}
    alone = harvest(tiny_gpt2, as_text, site)
    assert torch.allclose(acts[site][1], alone[site][0], rtol=1e-4, atol=1e-5)
