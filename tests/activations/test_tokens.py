"""Texts to rows of tokens: BOS first, one document a row, windows or a cut, provenance of every token."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from saekit.activations import concept_mask, token_strings, tokenize
from saekit.corpora import Document, Span
from saekit.models.bos import Begin

BOS, PAD = 0, 2
LONG = "the cat and the dog is in the house of the king " * 4  # 77 tokens; a row holds 31 and BOS


def ids(model, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_one_document_a_row_bos_first_padded_on_the_right(tiny_llama):
    texts = ["the cat", "", "the dog sat in the hat", "a"]
    rows = tokenize(tiny_llama, texts, first_document=10)
    for row, text in zip(rows.tokens.tolist(), texts, strict=True):
        own = ids(tiny_llama, text)
        assert row == [BOS, *own, *[PAD] * (rows.tokens.shape[1] - 1 - len(own))]
    assert rows.tokens.shape[1] == 1 + max(len(ids(tiny_llama, text)) for text in texts)
    assert rows.documents.tolist() == [10, 11, 12, 13] and len(rows) == 4
    counted = [len(ids(tiny_llama, text)) for text in texts]
    assert rows.mask.sum(1).tolist() == counted and not rows.mask[:, 0].any()
    for r, n in enumerate(counted):
        assert rows.positions[r].tolist() == [-1, *range(n), *[-1] * (rows.tokens.shape[1] - 1 - n)]
    assert rows.excluded == {"bos": 4, "special": 0, "cut": 0}


def test_spans_are_the_characters_of_each_token(tiny_llama):
    texts = ["the cat sat", "in the naïve house, 日本"]
    rows = tokenize(tiny_llama, texts)
    for r, text in enumerate(texts):
        spans = rows.spans[r][rows.mask[r]].tolist()
        assert spans[0][0] == 0 and spans[-1][1] == len(text)
        covered = {i for start, end in spans for i in range(start, end)}
        assert covered == set(range(len(text)))  # every character belongs to a token, several bytes to one character
    assert [texts[0][a:b] for a, b in rows.spans[0][rows.mask[0]].tolist()] == ["the", " cat", " s", "at"]
    assert rows.spans[0][~rows.mask[0]].abs().sum() == 0


def test_a_long_document_goes_on_in_windows_with_their_own_bos(tiny_llama):
    own = ids(tiny_llama, LONG)
    assert 62 < len(own) < 93
    rows = tokenize(tiny_llama, ["a", LONG, "the"])
    assert rows.documents.tolist() == [0, 1, 1, 1, 2] and rows.tokens[:, 0].tolist() == [BOS] * 5
    assert rows.tokens.shape == (5, 32) and rows.excluded == {"bos": 5, "special": 0, "cut": 0}
    part = rows.documents == 1
    assert rows.tokens[part][rows.mask[part]].tolist() == own
    assert rows.positions[part][rows.mask[part]].tolist() == list(range(len(own)))
    assert rows.positions[2, 1] == 31
    text = "".join(LONG[a:b] for a, b in rows.spans[part][rows.mask[part]].tolist())
    assert text == LONG


def test_a_long_document_is_cut_and_the_number_said(tiny_llama):
    own = ids(tiny_llama, LONG)
    rows = tokenize(tiny_llama, [LONG, "the", LONG], long="cut")
    assert rows.documents.tolist() == [0, 1, 2]
    assert rows.tokens[0].tolist() == [BOS, *own[:31]]
    assert rows.excluded == {"bos": 3, "special": 0, "cut": 2 * (len(own) - 31)}


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_document_as_long_as_the_row(tiny_llama, extra):
    rows = tokenize(tiny_llama, ["a" * (31 + extra)])  # "a" repeated: one token each
    assert rows.mask.sum(1).tolist() == ([31, 1] if extra == 1 else [31 + extra])


def test_a_shorter_context(tiny_llama):
    rows = tokenize(tiny_llama, ["a" * 10], context=5)
    assert rows.tokens.shape == (3, 5) and rows.mask.sum(1).tolist() == [4, 4, 2]
    assert tokenize(tiny_llama, ["a" * 40], context=1000).tokens.shape[1] == 32  # never more than the model's
    for context in (1, 0, -3):
        with pytest.raises(ValueError, match=f"context .* found {context}"):
            tokenize(tiny_llama, ["a"], context=context)


def test_special_tokens_are_excluded_by_choice_and_counted(tiny_llama):
    text = "<|user|>the cat<|end|>the dog<|end|>"
    user, end = (tiny_llama.tokenizer.get_vocab()[token] for token in ("<|user|>", "<|end|>"))
    every = tokenize(tiny_llama, [text])
    assert every.tokens[0, 1] == user and int((every.tokens == end).sum()) == 2
    assert int(every.mask.sum()) == len(ids(tiny_llama, text)) and every.excluded["special"] == 0
    rows = tokenize(tiny_llama, [text, "the"], exclude=["<|end|>", "<|user|>"])
    assert rows.excluded == {"bos": 2, "special": 3, "cut": 0}
    assert torch.equal(rows.tokens[:1], every.tokens)
    assert torch.equal(rows.mask[:1], every.mask & (every.tokens != user) & (every.tokens != end))
    assert int(rows.positions[0].max()) == len(ids(tiny_llama, text)) - 1  # excluded tokens keep their positions
    one = tokenize(tiny_llama, [text], exclude="<|end|>")  # one token, not its letters
    assert one.excluded["special"] == 2
    with pytest.raises(ValueError, match=r"no token '<\|endd\|>'; of its special ones the closest is '<\|end\|>'"):
        tokenize(tiny_llama, [text], exclude=["<|endd|>"])


def test_the_padding_token_in_a_text_is_no_padding(tiny_llama):
    rows = tokenize(tiny_llama, ["the<pad>cat", "the cat and the dog"])
    assert rows.tokens[0, 2] == PAD and bool(rows.mask[0, 2])
    assert int(rows.mask[0].sum()) == len(ids(tiny_llama, "the<pad>cat"))


def test_a_tokenizer_without_bos(tiny_llama):
    none = Begin(adds=(), has=None, prepends=True)
    model = SimpleNamespace(tokenizer=tiny_llama.tokenizer, cfg=tiny_llama.cfg, begin=none)
    rows = tokenize(model, ["a" * 33, "the cat"])
    assert rows.tokens.shape == (3, 32) and rows.mask.sum(1).tolist() == [32, 1, 2]
    assert rows.excluded == {"bos": 0, "special": 0, "cut": 0} and rows.positions[0, 0] == 0


def test_a_token_tensor_is_taken_as_it_is(tiny_llama):
    tensor = torch.tensor([[BOS, 5, PAD, 6], [7, BOS, 9, 10]], dtype=torch.int32)
    rows = tokenize(tiny_llama, tensor, exclude=["<|user|>"], first_document=3)
    assert rows.tokens.tolist() == tensor.tolist() and rows.tokens.dtype == torch.int64
    assert rows.mask.tolist() == [[False, True, True, True], [True] * 4]  # BOS is not counted at the first place alone
    assert rows.positions.tolist() == [[-1, 0, 1, 2], [0, 1, 2, 3]]
    assert rows.documents.tolist() == [3, 4] and rows.spans is None
    user = tiny_llama.tokenizer.get_vocab()["<|user|>"]
    assert tokenize(tiny_llama, torch.tensor([[BOS, user, 9]]), exclude=["<|user|>"]).excluded == {
        "bos": 1,
        "special": 1,
        "cut": 0,
    }


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.tensor([1, 2, 3]), r"integers \[row, position\], found torch.int64 \(3,\)"),
        (torch.ones(2, 3), r"integers \[row, position\], found torch.float32"),
        (torch.tensor([[1, 300]]), r"0 … 299, found 1 … 300"),
        (torch.tensor([[-1, 3]]), r"0 … 299, found -1 … 3"),
        (torch.ones(1, 33, dtype=torch.long), "33 tokens .* context of 32"),
    ],
)
def test_token_tensors_that_are_refused(tiny_gpt2, tensor, words):
    with pytest.raises(ValueError, match=words):
        tokenize(tiny_gpt2, tensor)


def test_an_unknown_way_with_long_documents_and_no_documents(tiny_llama):
    with pytest.raises(ValueError, match=r"long cannot be 'wrap'; the closest is 'window' .of window, cut"):
        tokenize(tiny_llama, ["a"], long="wrap")
    rows = tokenize(tiny_llama, [])
    assert len(rows) == 0 and not rows.mask.any()


def test_concept_mask_marks_tokens_that_share_a_character(tiny_llama):
    text = "the cat sat in the house"
    documents = [
        Document("a", "text", (Span(0, 1, "other"),)),
        Document(text, "text", (Span(3, 7, "animal"), Span(8, 9, "s"), Span(7, 8, "space"), Span(12, 12, "empty"))),
    ]
    rows = tokenize(tiny_llama, [document.text for document in documents])

    def marked(concept: str) -> list[str]:
        mask = concept_mask(rows, documents, concept)
        assert not mask[0].any()
        return [text[a:b] for a, b in rows.spans[1][mask[1]].tolist()]

    assert marked("animal") == [" cat"]  # the span's leading space does not reach into a neighbour
    assert marked("s") == [" s"] and marked("space") == [" s"] and marked("empty") == [] and marked("unknown") == []
    with pytest.raises(ValueError, match="token tensor"):
        given = {"input_ids": rows.tokens, "attention_mask": rows.kept}
        concept_mask(tokenize(tiny_llama, given), documents, "animal")


def test_token_strings(tiny_llama):
    text = "the cat<|end|> é"
    strings = token_strings(tiny_llama, ids(tiny_llama, text))
    assert strings[:3] == ["the", " cat", "<|end|>"] and strings[3] == " " and "�" in strings[4]


def test_real_text_with_byte_fallback_keeps_its_characters(real_folder):
    """wikitext with CJK and diacritics through the tokenizer of the real model: spans join to the text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_folder / "stories260K")
    model = SimpleNamespace(tokenizer=tokenizer, cfg=SimpleNamespace(n_ctx=512, d_vocab=512, default_prepend_bos=True))
    loaded = json.loads((real_folder / "tinystories" / "wikitext_100.json").read_text(encoding="utf-8"))
    texts = [item if isinstance(item, str) else next(v for v in item.values() if isinstance(v, str)) for item in loaded]
    rows = tokenize(model, texts[:40])
    for d, text in enumerate(texts[:40]):
        part = rows.documents == d
        spans, positions = rows.spans[part][rows.mask[part]], rows.positions[part][rows.mask[part]]
        assert positions.tolist() == list(range(len(positions)))
        missing = set(range(len(text))) - {i for a, b in spans.tolist() for i in range(a, b)}
        assert all(text[i].isspace() for i in missing)
        assert bool((spans[:, 0].diff() >= 0).all()) and int(spans.max()) <= len(text)
