"""special_token_errors: by hand, and each id by itself."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.activations import harvest
from saekit.activations.tokens import special_ids
from saekit.metrics import SpecialTokens, answers, special_token_errors

SITE = "blocks.1.hook_resid_post"
TEXTS = ["<|user|>the cat<|end|>the dog", "the dog is in<|end|>"]


@pytest.fixture
def sae(tiny_llama):
    made = sk.TopK(d_sae=24, k=4).build(sk.Wiring(SITE), {SITE: 16})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    made.provenance = type(made.provenance)(model_hash=tiny_llama.model_hash)
    return made


def by_hand(model, sae):
    acts = harvest(model, TEXTS, SITE)
    x, tokens = acts.flat(SITE).double(), acts.tokens[acts.mask]
    x_hat = sae.decode(sae.encode(acts.flat(SITE))).detach().double()
    return tokens, (x - x_hat).square().sum(1) / x.square().sum(1)


def test_each_id_by_hand(tiny_llama, sae):
    tokens, share = by_hand(tiny_llama, sae)
    end, user = (tiny_llama.tokenizer.convert_tokens_to_ids(name) for name in ("<|end|>", "<|user|>"))
    found = special_token_errors(tiny_llama, sae, TEXTS)
    assert [(row["token"], row["id"], row["tokens"]) for row in found.rows] == [
        ("<|user|>", user, 1),
        ("<|end|>", end, 2),
        ("all others", None, len(tokens) - 3),
    ]
    special = torch.isin(tokens, torch.tensor([end, user]))
    expected = [share[tokens == user].mean(), share[tokens == end].mean(), share[~special].mean()]
    assert [row["error"] for row in found.rows] == pytest.approx([float(e) for e in expected], rel=1e-4)
    assert expected[0] != pytest.approx(float(expected[1]), rel=0.02), "they could be told apart"


def test_it_stands_in_a_report_and_draws_itself(tiny_llama, sae):
    report = sk.evaluate(tiny_llama, sae, TEXTS, tokens=None, metrics=[SpecialTokens])
    found = special_token_errors(tiny_llama, sae, TEXTS)
    assert report["error at <|end|>"] == pytest.approx(found.rows[1]["error"])
    assert list(found.frame().columns) == ["token", "id", "tokens", "error"] and "<|end|>" in repr(found)
    html = found._repr_html_()
    assert "<svg" in html and "<|end|>" not in html, "tokens are text, never HTML"


def test_without_a_model_nobody_knows_what_is_special(sae):
    with pytest.raises(ValueError, match="special tokens are of a model's tokenizer"):
        sk.evaluate(torch.randn(8, 16), sae, metrics=[SpecialTokens])


def test_special_ids_are_those_of_the_tokenizer(tiny_tokenizer):
    names = ("<s>", "</s>", "<pad>", "<|user|>", "<|end|>")
    assert special_ids(tiny_tokenizer) == sorted(tiny_tokenizer.convert_tokens_to_ids(list(names)))


@pytest.mark.slow
def test_chats_one_a_row_beat_chats_packed_and_an_amplified_latent_costs_answers(one_thread):
    """On as many tokens of the same chats, <|user|> loses less; its latent at twice its maximum makes answers worse."""
    micro = sk.load_model("micro", device="cpu")
    chats, method = sk.load_corpus("microworld", kinds="requests"), sk.TopK(d_sae=256, k=12)
    ids: list[int] = []
    for document in chats:
        ids += micro.tokenizer.encode(document.text, add_special_tokens=False)
        if len(ids) > 62_000:
            break
    rows = torch.tensor(ids[: len(ids) // 255 * 255]).view(-1, 255)
    packed = torch.cat([torch.full((len(rows), 1), micro.tokenizer.bos_token_id), rows], 1)
    site, heldout = "blocks.2.hook_resid_post", sk.load_corpus("microworld", split="heldout", kinds="requests", n=100)
    made, errors = [], []
    for corpus in (chats, packed):
        run = sk.train(micro, site, method, corpus, tokens=60_000, callback=lambda _: None)
        made.append(run.dictionary)
        found = special_token_errors(micro, run, heldout)
        errors.append({row["token"]: row["error"] for row in found.rows})
    assert errors[0]["<|user|>"] < 0.5 * errors[1]["<|user|>"], errors
    acts = harvest(micro, heldout, site)
    z = made[0].encode(acts.flat(site)).to_dense().detach() > 0
    is_user = acts.tokens[acts.mask] == micro.tokenizer.convert_tokens_to_ids("<|user|>")
    best = int((2 * z[is_user].sum(0) / (z.sum(0) + is_user.sum())).argmax())
    pairs = sk.load_pairs("refusal", n=60)
    plain, amplified = (answers(micro, pairs, edits) for edits in ((), sk.Edit(made[0], latent=best, strength=2)))
    assert amplified.gap.mean() < plain.gap.mean() - 1 and amplified.accuracy < plain.accuracy
