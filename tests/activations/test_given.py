"""Token ids as people have them: every form gives the same rows; padding is never read as text."""

from __future__ import annotations

import copy
from collections import UserDict
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore, harvest, tokenize
from saekit.activations.given import given_tokens
from saekit.corpora import load_corpus

HOOK = "blocks.1.hook_resid_post"
BOS, EOS, PAD = 0, 1, 2
ROWS = [[BOS, 5, 6, 7], [BOS, 8, 9], [10, 11, 12, 13]]
LEFT = torch.tensor([[BOS, 5, 6, 7], [PAD, BOS, 8, 9], [10, 11, 12, 13]])
RIGHT = torch.tensor([[BOS, 5, 6, 7], [BOS, 8, 9, PAD], [10, 11, 12, 13]])
LEFT_MASK, RIGHT_MASK = (LEFT != PAD).long(), (RIGHT != PAD).long()


class DataSet:
    """What saekit uses of a data set."""

    def __init__(self, **columns):
        self.columns_of = columns
        self.column_names = list(columns)

    def __len__(self):
        return len(next(iter(self.columns_of.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns_of[key]
        return {name: column[key] for name, column in self.columns_of.items()}


FORMS = {
    "lists": ROWS,
    "arrays": [np.array(row, dtype=np.int32) for row in ROWS],
    "tensors": [torch.tensor(row) for row in ROWS],
    "right": {"input_ids": RIGHT, "attention_mask": RIGHT_MASK},
    "left": {"input_ids": LEFT, "attention_mask": LEFT_MASK},
    "NumPy": {"input_ids": LEFT.numpy(), "attention_mask": LEFT_MASK.numpy().astype(bool)},
    "what a tokenizer gives": UserDict(input_ids=LEFT, attention_mask=LEFT_MASK),
    "mapping of lists": {"input_ids": LEFT.tolist(), "attention_mask": LEFT_MASK.tolist()},
    "data set": DataSet(input_ids=LEFT.tolist(), attention_mask=LEFT_MASK.tolist()),
    "data set without a mask": DataSet(input_ids=ROWS),
    "rows": [{"input_ids": i, "attention_mask": m} for i, m in zip(LEFT.tolist(), LEFT_MASK.tolist(), strict=True)],
    "frame": pandas.DataFrame({"input_ids": ROWS}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(tiny_llama, form):
    rows = tokenize(tiny_llama, FORMS[form])
    kept = rows.kept
    assert [row[k].tolist() for row, k in zip(rows.tokens, kept, strict=True)] == ROWS
    assert rows.mask.tolist() == [[False, True, True, True], [False, True, True, False], [True] * 4]
    assert rows.positions.tolist() == [[-1, 0, 1, 2], [-1, 0, 1, -1], [0, 1, 2, 3]]
    assert rows.excluded == {"bos": 2, "special": 0, "cut": 0, "padding": 1}
    assert given_tokens(FORMS[form]).fingerprint == given_tokens(ROWS).fingerprint


@pytest.mark.parametrize("form", ["left", "right", "lists"])
def test_a_padded_row_is_the_row_alone(tiny_gpt2, form):
    acts = harvest(tiny_gpt2, FORMS[form], HOOK)
    alone = harvest(tiny_gpt2, torch.tensor(ROWS[1:2]), HOOK)
    assert torch.allclose(acts[HOOK][1, :3], alone[HOOK][0], atol=1e-5)
    assert len(acts.flat(HOOK)) == 9
    assert "3 rows, BOS is '<s>', padding by the attention mask; 9 counted tokens" in repr(acts)
    assert "left out: 2 bos, 1 padding" in repr(acts)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (RIGHT, r"row 1 of the tokens begins or ends in the padding token '<pad>': say what is text by an attention"),
        (LEFT, r"row 1 of the tokens begins or ends in the padding token"),
        ({"input_ids": RIGHT}, r"row 1 of the tokens begins or ends in the padding token"),
        ({"input_ids": RIGHT, "attention_mask": RIGHT_MASK[:2]}, r"mask has shape \(2, 4\), the tokens have \(3, 4\)"),
        ({"input_ids": RIGHT, "attention_mask": RIGHT_MASK * 2}, r"holds 0 and 1, where 1 is text, found 2"),
        (
            {"input_ids": RIGHT, "attention_mask": torch.tensor([[1, 0, 1, 1]] * 3)},
            r"mask of row 0 has a gap at position 1",
        ),
        ({"input_ids": RIGHT, "attention_mask": RIGHT_MASK * 0}, r"row 0 of the tokens has no text by its attention"),
        ([5, 6, 7, 8], r"a row of tokens goes in a list: \[\[5, 6, 7, …\]\]"),
        (np.ones((2, 3)), r"integers \[row, position\], found torch.float64"),
        ([[5, 6], [7, 400]], r"token ids must lie in 0 … 299, found 5 … 400"),
    ],
)
def test_what_is_refused(tiny_gpt2, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        harvest(tiny_gpt2, given, HOOK)


def test_where_padding_is_also_bos_one_is_bos_and_two_are_refused(tiny_gpt2):
    tokenizer = copy.deepcopy(tiny_gpt2.tokenizer)
    tokenizer.pad_token = "<s>"
    model = SimpleNamespace(tokenizer=tokenizer, cfg=tiny_gpt2.cfg, begin=tiny_gpt2.begin)
    assert tokenize(model, torch.tensor([[BOS, 5, 6, BOS]])).mask.tolist() == [[False, True, True, True]]
    for row in ([BOS, BOS, 5, 6], [5, 6, BOS, BOS]):
        with pytest.raises(ValueError, match="begins or ends in two or more of '<s>', which also pads"):
            tokenize(model, torch.tensor([row]))


def test_rows_that_were_harvested_are_read_again(tiny_llama):
    acts = harvest(tiny_llama, ["the cat sat on a mat", "the dog", "he is in it"], HOOK)
    again = harvest(tiny_llama, acts.rows[1:3], HOOK)
    assert torch.equal(again.tokens[again.rows.kept], acts.tokens[1:3][acts.rows.kept[1:3]])
    assert torch.equal(again.mask, acts.mask[1:3]) and torch.equal(again.rows.positions, acts.rows.positions[1:3])
    assert torch.allclose(again[HOOK][again.mask], acts[HOOK][1:3][acts.mask[1:3]], atol=1e-5)


def test_a_data_set_with_a_text_is_read_as_text(tiny_llama):
    data = DataSet(text=["the cat", "the dog sat"], input_ids=[[5], [6]])
    assert given_tokens(data) is None
    rows = tokenize(tiny_llama, [document.text for document in load_corpus(data)])
    assert torch.equal(rows.tokens, tokenize(tiny_llama, ["the cat", "the dog sat"]).tokens)


def test_labels_beside_left_padded_tokens_move_with_them(tiny_llama):
    from saekit.activations.reader import TextReader

    reader = TextReader(tiny_llama, [HOOK], FORMS["left"], labels=LEFT)  # each token's id as its label
    rows = reader.rows([0, 1, 2])
    found = reader.read(rows, [0, 1, 2], torch.zeros(3, dtype=torch.long))["labels"][..., 0]
    assert torch.equal(found[rows.kept].long(), rows.tokens[rows.kept])


def test_every_call_reads_the_same_of_padded_tokens(tiny_llama, tmp_path):
    """Report, store, training and activations on disk: nine tokens, padding none of them."""
    tokens = FORMS["left"]
    run = sk.train(tiny_llama, HOOK, sk.TopK(d_sae=32, k=4), tokens, tokens=36, batch_size=9, callback=lambda _: None)
    sae = run.dictionary
    report = sk.evaluate(tiny_llama, sae, tokens)
    assert report.tokens == 9 and report.excluded == {"bos": 2, "special": 0, "cut": 0, "padding": 1}
    assert "rows: 3 rows, BOS is '<s>', padding by the attention mask" in report.lines()
    store = sk.FeatureStore.build(tiny_llama, sae, tokens, tmp_path / "store")
    assert store.tokens == 9 and "9 counted tokens; left out: 2 bos, 1 padding" in repr(store)
    kept = ActivationStore.build(tiny_llama, tokens, HOOK, tmp_path / "kept", tokens=9, dtype=torch.float32)
    assert len(kept) == 9 and "9 counted tokens; left out: 2 bos, 1 padding" in repr(kept)
    assert torch.equal(kept.shard(0)[HOOK], harvest(tiny_llama, tokens, HOOK).flat(HOOK))


def test_exclude_and_context_are_of_every_call_that_reads(tiny_llama, tmp_path):
    texts = ["the<|user|>cat sat on a mat", "the dog and the king of the house"]
    how = {"exclude": ["<|user|>"], "context": 6}
    acts = harvest(tiny_llama, texts, HOOK, **how)
    n = int(acts.mask.sum())
    run = sk.train(
        tiny_llama, HOOK, sk.TopK(d_sae=32, k=4), texts, tokens=n, batch_size=n, callback=lambda _: None, **how
    )
    report = sk.evaluate(tiny_llama, run.dictionary, texts, **how)
    store = sk.FeatureStore.build(tiny_llama, run.dictionary, texts, tmp_path / "store", **how)
    kept = ActivationStore.build(tiny_llama, texts, HOOK, tmp_path / "kept", tokens=n, **how)
    assert report.tokens == store.tokens == len(kept) == n
    read = acts.provenance["read"]
    assert {key: read[key] for key in ("rows", "tokens")} == {"rows": len(acts.rows), "tokens": n}
    for manifest in (store.manifest["what_was_read"], kept.manifest["read"]):
        assert (manifest["rows"], manifest["tokens"], manifest["bos"]) == (read["rows"], n, "<s>")
    with pytest.raises(ValueError, match=r"settings.context \(there 6, here None\)"):
        sk.FeatureStore.build(tiny_llama, run.dictionary, texts, tmp_path / "store", exclude=["<|user|>"])
    with pytest.raises(ValueError, match=r"context \(there 6, here None\)"):
        ActivationStore.build(tiny_llama, texts, HOOK, tmp_path / "kept", tokens=n, exclude=["<|user|>"])
