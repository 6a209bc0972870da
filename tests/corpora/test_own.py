"""Text of one's own: rows, chats, streamed data sets, folders, and what is refused."""

from __future__ import annotations

from itertools import islice

import pytest

from saekit.corpora import Document, load_corpus

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


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([{"body": "a"}], "row 0 has no text: of the columns 'body' none is 'text' or a chat"),
        (["a", {"text": 3}], "row 1 has no text"),
        ([{"messages": [{"role": "system", "content": "x"}]}], "row 0 has the role 'system'"),
        (Table([]), "the corpus is empty"),
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
    with pytest.raises(TypeError, match="found dict"):
        load_corpus({"text": "a"})
    with pytest.raises(TypeError, match="found int"):
        load_corpus(3)
