"""What the card measures: models that know everything, nothing, or one trick, score what they must."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from saekit.making import card, measure
from saekit.making.card import MICRO
from saekit.making.measure import ROWS, induction, row_pairs, score, spelled


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MICRO, local_files_only=True)


class Oracle:
    """Says after each prompt what it was told to say; after all others nothing in particular."""

    def __init__(self, tokenizer, said: dict[str, str]):
        self.said = {
            tuple([tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)]): tokenizer.encode(
                answer, add_special_tokens=False
            )[-1]
            for prompt, answer in said.items()
        }

    def __call__(self, tokens):
        logits = torch.zeros(*tokens.shape, 4096)
        for row, ids in enumerate(tokens.tolist()):
            for end in range(1, len(ids) + 1):
                if (answer := self.said.get(tuple(ids[:end]))) is not None:
                    logits[row, end - 1, answer] = 9.0
        return SimpleNamespace(logits=logits)


@pytest.mark.parametrize("row", [row for row in ROWS if not row.name.startswith("sums")], ids=lambda row: row.name)
def test_right_and_wrong_answers(tokenizer, row):
    pairs = row_pairs(tokenizer, row, 20, "heldout")
    right = Oracle(tokenizer, {pair.clean: pair.answers[0] for pair in pairs})
    wrong = Oracle(tokenizer, {pair.clean: pair.wrong[0] for pair in pairs})
    best, chance = score(right, tokenizer, pairs, row.kind)
    worst, _ = score(wrong, tokenizer, pairs, row.kind)
    assert best > 0.6 and worst < 0.4 and 0 < chance < 1
    if row.kind != "mass":
        assert (best, worst) == (1.0, 0.0)


def test_mass_by_hand(tokenizer):
    row = next(row for row in ROWS if row.kind == "mass")
    pairs = row_pairs(tokenizer, row, 5, "heldout")
    nothing, chance = score(Oracle(tokenizer, {}), tokenizer, pairs, "mass")
    assert nothing == pytest.approx(sum(len(pair.answers) for pair in pairs) / 5 / 4096)
    assert chance == pytest.approx(sum(len(pair.answers) for pair in pairs) / 5 / 100)


def test_a_sum_must_be_right_at_every_token(tokenizer):
    row = next(row for row in ROWS if row.name.startswith("sums"))
    pairs = row_pairs(tokenizer, row, 10, "heldout")
    said = {}
    for pair in pairs:
        tokens = tokenizer.encode(pair.answers[0], add_special_tokens=False)
        assert len(tokens) > 1
        for place in range(len(tokens)):
            said[pair.clean + tokenizer.decode(tokens[:place])] = tokenizer.decode(tokens[place : place + 1])
    assert spelled(Oracle(tokenizer, said), tokenizer, pairs) == 1
    for pair in pairs[:4]:
        said[pair.clean] = "x"
    assert spelled(Oracle(tokenizer, said), tokenizer, pairs) == 0.6


def test_induction_is_scored_by_copying(tokenizer):
    class Copies:
        """Says what followed the last token before."""

        def __call__(self, tokens):
            logits = torch.zeros(*tokens.shape, 4096)
            ids = tokens[0].tolist()
            logits[0, -1, ids[ids.index(ids[-1]) + 1]] = 1.0
            return SimpleNamespace(logits=logits)

    assert induction(Copies(), tokenizer, 30) == 1
    assert induction(lambda tokens: SimpleNamespace(logits=torch.zeros(*tokens.shape, 4096)), tokenizer, 30) == 0


def test_code_loss_of_a_model_without_an_opinion(tokenizer, monkeypatch):
    few = {"train": measure.modules("train")[:3], "heldout": measure.modules("heldout")[:2]}
    monkeypatch.setattr(measure, "modules", few.get)
    ours, counted, tokens = measure.code_loss(
        lambda tokens: SimpleNamespace(logits=torch.zeros(*tokens.shape, 4096)), tokenizer, 1_000
    )
    assert ours == pytest.approx(math.log(4096), abs=1e-4) and 3 < counted < ours
    assert 1_000 <= tokens < 1_064 and tokens % 64 == 0


def test_every_row_has_its_items(tokenizer):
    for row in ROWS:
        for split in ("heldout", "unseen_dev", "unseen"):
            pairs = row_pairs(tokenizer, row, 500, split)
            assert len({pair.clean for pair in pairs}) == min(500, row.most)


def test_the_shipped_card_says_what_its_files_say():
    text = (MICRO / "README.md").read_text(encoding="utf-8")
    assert all(row.name in text for row in ROWS) and (MICRO / "NOTES.md").read_text(encoding="utf-8").strip() in text
    for line in (*card.heads_found(MICRO), *card.training(MICRO)):
        assert line in text


def test_no_log_and_no_heads(tmp_path):
    assert card.heads_found(tmp_path) == card.training(tmp_path) == []
