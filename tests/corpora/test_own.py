"""Text of one's own: rows, chats, streamed data sets, folders, and what is refused."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch

from saekit.corpora import Document, load_corpus, load_pairs
from saekit.corpora.planted import superposition

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi, you"}]


class Streamed:
    """A data set that can be read again but has no length, as `datasets.load_dataset(…, streaming=True)` gives."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


class Table:
    """A data set with a length, whose rows are mappings: no Sequence."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.rows[place]


def test_rows_strings_and_documents_mix():
    corpus = load_corpus(Table([{"text": "a", "id": 1}, "b", Document("c", "letter")]))
    assert [document.text for document in corpus] == ["a", "b", "c"] and corpus.kinds == ("letter", "text")


def test_a_chat_in_micros_template_with_its_roles():
    (found,) = load_corpus([{"messages": CHAT}])
    assert found.text == "<|user|>hi<|end|><|assistant|>hi, you<|end|>" and found.kind == "chat"
    assert [(found.text[s.start : s.end], s.concept) for s in found.spans] == [
        ("hi", "chat.user"),
        ("hi, you", "chat.assistant"),
    ]


def test_a_chat_in_another_tokenizers_template():
    class Tokenizer:
        def apply_chat_template(self, turns, tokenize):
            assert tokenize is False
            return "".join(f"[{turn['role']}] {turn['content']}\n" for turn in turns)

    sharegpt = [{"from": "system", "value": "be kind"}, {"from": "human", "value": "hi"}]
    (found,) = load_corpus([{"conversations": sharegpt}], tokenizer=Tokenizer())
    assert found.text == "[system] be kind\n[human] hi\n"
    assert [(found.text[s.start : s.end], s.concept) for s in found.spans] == [
        ("be kind", "chat.system"),
        ("hi", "chat.human"),
    ]


def test_a_streamed_data_set_is_read_again_and_again():
    corpus = load_corpus(Streamed([{"text": "a"}, {"text": "b"}]))
    assert corpus.endless and [d.text for d in islice(iter(corpus), 5)] == ["a", "b", "a", "b", "a"]
    assert [d.text for d in load_corpus(Streamed(["a", "b"]), n=2)] == ["a", "b"]


def test_a_folder_with_folders(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one.txt").write_text("1", encoding="utf-8")
    (tmp_path / "two.txt").write_text("2", encoding="utf-8")
    assert [document.text for document in load_corpus(tmp_path)] == ["1", "2"]


class OfHuggingFace(Table):
    """A data set that counts the rows that are read."""

    column_names = ("text", "id")
    features: ClassVar[dict[str, str]] = {"text": "string", "id": "int64"}

    def __init__(self, rows, split=None):
        super().__init__(rows)
        self.split, self.read = split, 0

    def __getitem__(self, place):
        self.read += 1
        return super().__getitem__(place)


def test_no_more_rows_are_read_than_n_needs():
    data = OfHuggingFace([{"text": str(place)} for place in range(1000)])
    assert [d.text for d in load_corpus(data, n=10)] == list("0123456789") and data.read == 10
    stream = Streamed({"text": str(place)} for place in range(1000))
    load_corpus(stream, n=10)
    assert next(stream.rows) == {"text": "10"}


def test_n_of_a_stream_that_holds_fewer_is_an_error_and_no_text_comes_twice():
    with pytest.raises(ValueError, match="n=5 documents are asked for, but stream holds 2"):
        load_corpus(Streamed(["a", "b"]), n=5)


def test_of_several_splits_one_is_asked_for():
    splits = {name: OfHuggingFace([{"text": name}], name) for name in ("train", "test")}
    corpus = load_corpus(splits, "test")
    assert corpus[0].text == "test" and corpus.split == corpus.provenance["split"] == "test"
    assert load_corpus({"validation": splits["test"]}).split == "validation"  # the only one
    with pytest.raises(ValueError, match="has splits, here train, test: say split='train'"):
        load_corpus(splits)
    with pytest.raises(ValueError, match="no split 'tset'; the closest is 'test'"):
        load_corpus(splits, "tset")
    assert load_corpus(splits["test"]).split == "test"
    with pytest.raises(ValueError, match="this data set is its split 'test': leave out split='train'"):
        load_corpus(splits["test"], "train")


FRAME = pd.DataFrame({"text": ["a", None, "b", "", "c"], "score": [1.0, 2.0, float("nan"), 4.0, 5.0]})


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (FRAME, "abc"),
        (FRAME[FRAME.score > 1], "c"),  # its index begins at 1
        (FRAME.rename(columns={"text": "body"}), "abc"),
        (FRAME.assign(text=FRAME.text.astype("string")), "abc"),
        (FRAME.text.replace("", None), "abc"),
        (FRAME.text[FRAME.score > 3].replace("", None), "c"),
        (FRAME.text.astype("category").cat.remove_categories([""]), "abc"),
        (pyarrow.table({"text": ["a", None, "b"], "id": [1, 2, 3]}), "ab"),
        (pyarrow.array(["a", None, "b"]), "ab"),
        (np.array(["a", "b"]), "ab"),
        (np.array(["a", None, "b"], dtype=object), "ab"),
        (("a", "b"), "ab"),
        (["a", None, float("nan"), pd.NA, pd.NaT, np.float32("nan"), "b"], "ab"),
        (Table([{"id": 1, "text": "a"}, {"id": 2}]), "a"),
        ({"x": "a", "y": "b"}.values(), "ab"),
        (load_corpus(["a", "b"]), "ab"),
    ],
)
def test_what_holds_texts_is_taken(source, found):
    corpus = load_corpus(source)
    assert [document.text for document in corpus] == list(found)
    assert all(type(document.text) is str for document in corpus)
    assert corpus.fingerprint == load_corpus(list(found)).fingerprint


def test_how_the_same_texts_are_held_makes_no_other_run():
    """A run goes on only where its corpus has the same provenance."""
    held = [
        ["a", "b"],
        ("a", "b"),
        np.array(["a", "b"]),
        pd.Series(["a", "b"]),
        OfHuggingFace([{"text": "a"}, {"text": "b"}]),
    ]
    assert all(load_corpus(each).provenance == load_corpus(["a", "b"]).provenance for each in held)


def test_a_string_of_a_list_keeps_its_place_even_without_characters():
    assert [document.text for document in load_corpus(["a", "", "b"])] == ["a", "", "b"]


def test_the_fingerprint_is_of_all_documents():
    texts = [str(place) for place in range(3000)]
    assert load_corpus(texts).fingerprint != load_corpus([*texts[:-1], "other"]).fingerprint


def test_the_first_skipped_row_of_a_stream_is_said_once(capsys):
    corpus = load_corpus(Streamed([{"text": "a"}, {"text": None}, {"text": "b"}, {"text": ""}]))
    for _ in range(2):
        assert [d.text for d in islice(iter(corpus), 5)] == list("ababa")
    assert capsys.readouterr().out == "row 1 has no text and is skipped, as others like it are.\n"


@pytest.mark.timeout(20)
def test_a_stream_without_any_text_ends():
    with pytest.raises(ValueError, match="none of its 2 rows has any text"):
        next(iter(load_corpus(Streamed([{"text": None}, {"text": " "}]))))


@pytest.mark.parametrize("given", [2e0, np.int64(2), np.float32(2), np.array(2)])
def test_numbers_as_people_give_them(given):
    texts = ["a", "b", "c"]
    assert len(load_corpus(texts, n=given)) == 2
    here, there = load_corpus("microworld", n=3, seed=2), load_corpus("microworld", n=given + 1, seed=given)
    assert list(here) == list(there) and type(there.provenance["seed"]) is int
    assert list(load_corpus("python", "heldout", n=2, seed=given)) == list(
        load_corpus("python", "heldout", n=2, seed=2)
    )
    assert list(load_pairs("ioi", n=given, seed=given)) == list(load_pairs("ioi", n=2, seed=2))
    world = superposition(features=given + 2, dimensions=given, seed=given)
    assert torch.equal(world.sample(given, given), superposition(4, 2, seed=2).sample(2, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": "5"}, "n is a whole number from 1, found '5', a string: write 5"),
        ({"n": 2.5}, "n is a whole number from 1, found 2.5"),
        ({"n": True}, "n is a whole number from 1, found True"),
        ({"seed": "0"}, "seed is a whole number from 0, found '0', a string: write 0"),
        ({"seed": None}, "seed is a whole number from 0, found None"),
        ({"correlation": "0.5"}, "correlation is a number from 0, found '0.5', a string: write 0.5"),
        ({"column": "text"}, "column= is of rows, found 'text' for 'microworld'"),
    ],
)
def test_what_is_no_number_and_what_is_of_rows(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        load_corpus("microworld", **arguments)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            [{"body": "a", "title": "b"}],
            "row 0 has no text: of the columns 'body', 'title' none is 'text' or a chat, and 'body', 'title' may be: "
            "say which, for example column='body'",
        ),
        (["a", {"text": 3}], "row 1 has no text"),
        ([{"messages": [{"role": "system", "content": "x"}]}], "row 0 has the role 'system'"),
        (Table([]), "the corpus is empty"),
        ([{"text": None}, {"text": " "}], "the corpus is empty: list holds no text; none of its 2 rows has any"),
        ([{"id": 1, "label": 2.5}], "of the columns 'id', 'label' none is 'text', a chat .* or of strings"),
        (FRAME[["score"]], "none is 'text', a chat"),
        ([{"title": "a", "body": None}], "'title', 'body' may be: say which"),
        (CHAT, r"row 0 is one turn of a chat: a chat goes in a list, \[chat\]"),
        ([{"input_ids": [1, 2], "source": "wiki"}], "row 0 has no text, but token ids in the column 'input_ids'"),
        (["a", "\ud83d"], r"row 1 is no text: its character 0 is U\+D83D, half of a surrogate pair"),
    ],
)
def test_what_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(source)


def test_an_empty_stream_says_so_and_an_iterator_is_refused():
    with pytest.raises(ValueError, match="the data set has no rows"):
        next(iter(load_corpus(Streamed([]))))
    with pytest.raises(TypeError, match="an iterator can be read once"):
        load_corpus(line for line in ["a"])
    with pytest.raises(TypeError, match="a set has no order"):
        load_corpus({"a", "b"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"text": "a"}, "found dict with the keys 'text'"),
        (3, "found int"),
        (None, "found NoneType"),
        (b"a text", "found bytes"),
        ([b"a text"], "found bytes at place 0"),
        ([["a", "b"]], "found list at place 0"),
        ([("a", 1)], "found tuple at place 0"),
        ([[1, 2], [3]], "row 0 is of token ids"),
        (np.array([[1, 2]]), "row 0 is of token ids"),
        (torch.tensor([[1, 2]]), "row 0 is of token ids"),
        ([{"text": [1, 2]}], "row 0 is of token ids"),
        (torch.zeros(2, 3), "found Tensor at place 0"),
    ],
)
def test_what_is_no_source_of_text(source, message):
    with pytest.raises(TypeError, match=message):
        load_corpus(source)


ROWS = [{"title": "t", "body": "a", "chats": CHAT}, {"title": "u", "body": "b"}]


def test_the_column_that_is_said():
    corpus = load_corpus(ROWS, column="body")
    assert [document.text for document in corpus] == ["a", "b"] and "columns=['body']" in repr(corpus)
    corpus = load_corpus(ROWS, column="chats")
    assert corpus[0].kind == "chat" and corpus.provenance["skipped"] == 1 and corpus.provenance["columns"] == ["chats"]
    assert load_corpus(pd.DataFrame(["a", "b"]), column=0)[1].text == "b"
    with pytest.raises(ValueError, match="row 0 has no column 'boby'; the closest is 'body'"):
        load_corpus(ROWS, column="boby")
    with pytest.raises(ValueError, match="column='body' is of rows, and list holds texts"):
        load_corpus(["a"], column="body")


def test_the_only_column_of_strings_stays_the_same_one():
    rows = [{"id": "7", "body": "a"}, {"id": "8", "body": "9", "note": "n"}, {"id": "9", "body": None, "note": "n"}]
    corpus = load_corpus(rows)
    assert [document.text for document in corpus] == ["a", "9"] and corpus.reading == {
        "columns": ["body"],
        "skipped": 1,
    }
