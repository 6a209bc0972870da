"""answers: by hand over prompts of unlike length, and what an edit changes."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.corpora import Pair, Pairs
from saekit.metrics import answers

PAIRS = Pairs(
    [
        Pair("the cat sat", "the dog sat", (" on", " in"), (" and",)),
        Pair("the dog and the cat", "the cat and the dog", (" is",), (" the",)),
        Pair("the dog sat", "the cat sat", (" and",), (" is", " on")),
    ],
    "made",
    "train",
)
SITE = "blocks.0.hook_resid_post"


def by_hand(model, pair):
    tokenizer = model.tokenizer
    ids = [tokenizer.bos_token_id, *tokenizer.encode(pair.clean, add_special_tokens=False)]
    with torch.no_grad():
        log_p = model(torch.tensor([ids]))[0, -1].log_softmax(-1)

    def of(words):
        return [tokenizer.encode(word, add_special_tokens=False)[-1] for word in words]

    right = int(log_p.argmax()) in of(pair.answers)
    return right, float(log_p[of(pair.answers)].mean() - log_p[of(pair.wrong)].mean())


def test_by_hand(tiny_llama):
    likeliest = [tiny_llama.tokenizer.decode([best(tiny_llama, pair.clean)]) for pair in PAIRS]
    pairs = Pairs([*PAIRS, Pair("the cat sat", "the dog sat", (likeliest[0],), (" on",))], "made", "train")
    found = answers(tiny_llama, pairs)
    expected = [by_hand(tiny_llama, pair) for pair in pairs]
    assert found.right.tolist() == [right for right, _ in expected] and found.right[3]
    assert found.gap.tolist() == pytest.approx([gap for _, gap in expected], abs=1e-4)
    assert found.accuracy == sum(found.right.tolist()) / 4 and len(found.frame()) == 4
    assert "accuracy" in repr(found) and "mean gap" in found._repr_html_()


def best(model, text) -> int:
    ids = [model.tokenizer.bos_token_id, *model.tokenizer.encode(text, add_special_tokens=False)]
    with torch.no_grad():
        return int(model(torch.tensor([ids]))[0, -1].argmax())


def test_an_edit_at_the_end_of_each_prompt(tiny_llama):
    vector = torch.linspace(-1, 1, 16)
    edit = sk.Edit(vector, site=SITE, strength=2.0, tokens=-1)
    found = answers(tiny_llama, PAIRS, edit)
    with sk.edited(tiny_llama, edit):
        expected = [by_hand(tiny_llama, pair)[1] for pair in PAIRS]
    assert found.gap.tolist() == pytest.approx(expected, abs=1e-4)
    assert (found.gap - answers(tiny_llama, PAIRS).gap).abs().min() > 1e-3


def test_no_pairs(tiny_llama):
    with pytest.raises(ValueError, match="no pairs to answer"):
        answers(tiny_llama, Pairs([], "made", "train"))
