"""Files and folders of one's own: rows as rows, separators, what is packed, and what is no text."""

from __future__ import annotations

import bz2
import gzip
import json

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from pyarrow import parquet

from saekit.corpora import load_corpus

TEXTS = ["one, and", 'two "quoted"', "three\nlines\r\nof it", "4", "ünö 🙂"]
ROWS = [{"id": place, "text": text, "score": 0.5} for place, text in enumerate(TEXTS)]


def texts(source, **arguments) -> list[str]:
    return [document.text for document in load_corpus(source, **arguments)]


def write(path, rows) -> None:
    """Rows in the way of the path's ending."""
    kind = path.name.split(".")[1]
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(path)
        return
    ways = {
        "jsonl": lambda: "\n".join(json.dumps(row) for row in rows),
        "json": lambda: json.dumps(rows, indent=1),
        "csv": lambda: pd.DataFrame(rows).to_csv(index=False),
    }
    packed = {"gz": gzip.compress, "bz2": bz2.compress}.get(path.suffix[1:], bytes)
    path.write_bytes(packed(ways[kind]().encode()))


@pytest.mark.parametrize(
    "ending", ["jsonl", "json", "csv", "parquet", "JSONL", "jsonl.gz", "json.gz", "csv.gz", "jsonl.bz2", "csv.bz2"]
)
def test_the_same_text_is_the_same_corpus_in_every_file(tmp_path, ending):
    path = tmp_path / f"a.{ending.lower()}"
    write(path, ROWS)
    path = path.rename(tmp_path / f"b.{ending}")
    corpus = load_corpus(path)
    assert [document.text for document in corpus] == TEXTS and set(corpus.kinds) == {"text"}
    assert corpus.fingerprint == load_corpus(TEXTS).fingerprint


def test_json_of_lines_of_strings_and_of_one_row(tmp_path):
    path = tmp_path / "a.json"
    for written in ("\n".join(json.dumps(row) for row in ROWS), json.dumps(TEXTS)):
        path.write_text(written)
        assert texts(path) == TEXTS
    path.write_text('{\n "text": "one"\n}')
    assert texts(path) == ["one"]


@pytest.mark.parametrize("apart", [";", "\t", ","])
def test_a_table_is_cut_where_its_first_line_is(tmp_path, apart):
    (tmp_path / "a.csv").write_text(f'\ufefftext{apart}id\r\n"a{apart} b"{apart}1\r\nc{apart}2\r\n', encoding="utf-8")
    assert texts(tmp_path / "a.csv") == [f"a{apart} b", "c"]


def test_the_other_names_of_two_endings(tmp_path):
    (tmp_path / "a.tsv").write_text("id\ttext\n1\tone, two\n")
    (tmp_path / "b.ndjson").write_text('{"text": "three"}\n')
    assert texts(tmp_path / "a.tsv") == ["one, two"] and texts(tmp_path / "b.ndjson") == ["three"]


def test_words_that_other_readers_take_for_missing_are_text_in_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("text\nNA\nNone\nnan\n\n1\n")
    assert texts(tmp_path / "a.csv") == ["NA", "None", "nan", "1"]


def test_a_cell_may_be_a_book(tmp_path):
    book = "word " * 60_000
    pd.DataFrame({"text": [book]}).to_csv(tmp_path / "a.csv", index=False)
    assert texts(tmp_path / "a.csv") == [book]


@pytest.mark.parametrize(
    "between", ["<|endoftext|>", "\n<|endoftext|>\n", "\r\n<|endoftext|>\r\n", "<|end_of_text|>\n\n"]
)
def test_separators_are_where_documents_end(tmp_path, between):
    (tmp_path / "a.txt").write_bytes(f"One.{between}Two\n\nlines.{between}  three{between}".encode())
    assert texts(tmp_path / "a.txt") == ["One.", "Two\n\nlines.", "  three"]
    assert texts(tmp_path / "a.txt", n=2) == ["One.", "Two\n\nlines."]


def test_words_of_markup_are_no_separators(tmp_path):
    (tmp_path / "a.txt").write_text("<s>struck</s> <eos> out\n")
    assert texts(tmp_path / "a.txt") == ["<s>struck</s> <eos> out\n"]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "txt", "parquet", "jsonl.gz"])
def test_no_more_of_a_file_is_read_than_n_needs(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        write(path, ROWS * 100)
        assert texts(path, n=3) == TEXTS[:3]
        return
    good = {"jsonl": '{"text": "%d"}\n', "csv": "%d\n", "txt": "%d<|endoftext|>\n"}[ending.split(".")[0]]
    written = ("text\n" if ending == "csv" else "") + "".join(good % place for place in range(5))
    packed = gzip.compress if ending.endswith("gz") else bytes
    path.write_bytes(packed(written.encode() + b"\xff broken\n"))
    assert texts(path, n=5) == list("01234")
    with pytest.raises(ValueError, match=r"a\..* is not UTF-8 text: byte [\d,]+ is 0xff"):
        load_corpus(path)


def test_rows_without_text_are_skipped_counted_and_said(tmp_path, capsys):
    for ending in ("jsonl", "json", "csv", "parquet"):
        path = tmp_path / f"a.{ending}"
        write(path, [{"text": "a", "id": 0}, {"text": None, "id": 1}, {"text": "", "id": 2}, {"text": "b", "id": 3}])
        corpus = load_corpus(path)
        assert [document.text for document in corpus] == ["a", "b"]
        assert capsys.readouterr().out == f"{path}: 2 without text skipped (first row 1 of a.{ending}).\n"
        assert corpus.provenance["skipped"] == 2 and "skipped=2" in repr(corpus) and "skipped 2" in corpus._repr_html_()


def test_a_folder_is_read_by_every_kind_of_text_and_others_are_said(tmp_path, capsys):
    (tmp_path / "k=1").mkdir()
    write(tmp_path / "k=1" / "a.parquet", [{"text": "parquet"}])
    write(tmp_path / "b.csv", [{"text": "csv"}])
    write(tmp_path / "c.json", [{"text": "json"}])
    write(tmp_path / "d.jsonl.gz", [{"text": "jsonl"}])
    (tmp_path / "e.md").write_text("# md")
    (tmp_path / "f.txt").write_text("t<|endoftext|>xt")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "f-checkpoint.txt").write_text("a copy")
    (tmp_path / "g.pdf").write_bytes(b"%PDF")
    (tmp_path / "h").write_bytes(b"\0")
    corpus = load_corpus(tmp_path)
    assert [document.text for document in corpus] == ["csv", "json", "jsonl", "# md", "t", "xt", "parquet"]
    assert capsys.readouterr().out == f"{tmp_path}: 2 other files left out (g.pdf, h).\n"


def test_a_folder_without_text_names_what_it_has(tmp_path):
    for name in ("a.pdf", "b.png", "c.html", "d.html"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ValueError, match=r"no \.txt, \.md, .*\.parquet, but a\.pdf, b\.png, c\.html and 1 more"):
        load_corpus(tmp_path)


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
def test_a_saved_data_set_is_no_folder_of_texts(tmp_path, name):
    (tmp_path / name).write_text('{"description": ""}')
    with pytest.raises(ValueError, match=rf"a data set on disk .*{name}.*load_from_disk"):
        load_corpus(tmp_path)


def arrays(path) -> None:
    np.save(path, np.zeros(3))


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.npy", arrays, "not UTF-8 text.*arrays are loaded first"),
        ("a.pt", lambda path: torch.save(torch.zeros(2), path), "not (UTF-8 )?text.*arrays are loaded first"),
        ("a.bin", lambda path: path.write_bytes(b"ab\1\0"), "not text: byte 3 is zero; if it holds token ids"),
        ("a.txt", lambda path: path.write_bytes(b"ab\ncd\0"), "not text: byte 5 is zero"),
        ("a.txt", lambda path: path.write_bytes("é".encode("utf-16")), "not UTF-8 text: byte 0 is 0xff"),
        ("a.zip", lambda path: path.write_bytes(b"PK\3\4\0\0"), "not text.*unpack it"),
        ("a.png", lambda path: path.write_bytes(b"\x89PNG"), "not UTF-8 text: byte 0 is 0x89"),
        ("a.csv", lambda path: path.write_bytes(b"text\n\xe9\n"), "not UTF-8 text: byte 5 is 0xe9"),
        ("a.csv", lambda path: path.write_text("text\na, b\n"), r"row 0 .*a\.csv has 2 cells.* names 1 columns"),
        ("a.csv", lambda path: path.write_text('text\n"a\nb\n'), r"a\.csv is not whole"),
        ("a.csv", lambda path: path.write_text("id,text\n"), "the corpus is empty"),
        ("a.csv", lambda path: path.write_text(""), "the corpus is empty"),
        ("a.jsonl", lambda path: path.write_text('{"text": "a"}\n{"text": "b"'), r"line 2 of .*a\.jsonl is no JSON"),
        ("a.json", lambda path: path.write_text('[{"text": "a"},'), r"a\.json is not whole"),
        (
            "a.json",
            lambda path: path.write_text('{"model_type": "gpt2", "act": "gelu"}'),
            r"row 0 of a\.json has no text",
        ),
        ("a.jsonl", lambda path: path.write_text("[1, 2]\n"), r"row 0 of a\.jsonl is of token ids"),
        ("a.parquet", lambda path: path.write_bytes(b"PAR1"), r"a\.parquet is no Parquet file"),
        (
            "a.parquet",
            lambda path: pd.DataFrame({"x": [1.0]}).to_parquet(path),
            "none of its columns, 'x', is of strings",
        ),
        ("a.jsonl.gz", lambda path: path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 99)[:30]), r"gz is not whole"),
        ("a.txt.gz", lambda path: path.write_bytes(b"text"), r"a\.txt\.gz is not whole, or not what"),
    ],
)
def test_what_is_no_text_is_one_sentence(tmp_path, name, make, message):
    path = tmp_path / name
    make(path)
    with pytest.raises((ValueError, TypeError), match=message) as error:
        load_corpus(path)
    assert "\n" not in str(error.value)


def test_a_table_of_tokens_is_not_read_by_its_other_column(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"input_ids": [[1, 2], [3]], "source": ["wiki", "news"]}).to_parquet(path)
    with pytest.raises(ValueError, match="token ids in the column 'input_ids'"):
        load_corpus(path)
    assert texts(path, column="source") == ["wiki", "news"]


def test_vectors_beside_a_text_are_not_read(tmp_path):
    table = pyarrow.table({"emb": [[0.5, 1.0]], "body": pyarrow.array(["a"]).dictionary_encode(), "when": [None]})
    parquet.write_table(table.drop(["when"]), tmp_path / "a.parquet")
    assert texts(tmp_path / "a.parquet") == ["a"]


@pytest.mark.parametrize(
    "text",
    ["Anna went home.", "Anna went home. " * 500, "line\nline", "~nobody says hi", "word" * 100, "", "He paid 3.50"],
)
def test_a_text_in_place_of_a_path_goes_in_a_list(text):
    with pytest.raises(ValueError, match="a text goes in a list, \\[text\\]") as error:
        load_corpus(text)
    assert len(str(error.value)) < 250


def test_a_list_of_files_is_no_list_of_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["a.txt", "b.txt"]
    for name in names:
        (tmp_path / name).write_text("text")
    for given in (names, tuple(names), [tmp_path / name for name in names]):
        with pytest.raises(ValueError, match=r"a list holds texts, and .*a\.txt'\)? is a file: pass its path alone"):
            load_corpus(given)
    assert texts(["a.txt", "another text"]) == ["a.txt", "another text"]


def test_a_path_that_is_not_there_offers_what_stands_beside(tmp_path):
    (tmp_path / "my notes.txt").write_text("a")
    with pytest.raises(
        FileNotFoundError, match=r"closest is 'my notes\.txt' \(of microworld, python, pipelines, my notes\.txt\)"
    ):
        load_corpus(str(tmp_path / "my note.txt"))
    with pytest.raises(FileNotFoundError, match=r"passed as datasets.load_dataset\('someone/stories'\)"):
        load_corpus("someone/stories")
