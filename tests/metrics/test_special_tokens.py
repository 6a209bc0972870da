"""special_token_errors: by hand, and each id by itself."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.activations import harvest
from saekit.activations.tokens import special_ids
from saekit.metrics import SpecialTokens, special_token_errors

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
