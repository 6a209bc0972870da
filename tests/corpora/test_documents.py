"""Document, Span, Corpus, load_corpus: determinism, bad input, drawing."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import time

import pytest

from saekit.corpora import Corpus, Document, Span, load_corpus

SPLITS = ("train", "heldout", "unseen_dev", "unseen")


def first(corpus: Corpus, count: int) -> list[Document]:
    return list(itertools.islice(iter(corpus), count))


def test_fingerprint_by_hand():
    corpus = Corpus([Document("ab", "text", (Span(0, 1, "x"),)), Document("é")], name="mine")
    by_hand = hashlib.sha256(b"2,6\nab0,1,x;" + b"2,0\n" + "é".encode()).hexdigest()
    assert corpus.fingerprint == by_hand
    assert corpus.provenance["fingerprint"] == by_hand
    assert corpus.concepts == ("x",)


@pytest.mark.parametrize("split", SPLITS)
def test_iterating_twice_gives_the_same(split):
    corpus = load_corpus("microworld", split, n=200)
    assert first(corpus, 200) == first(corpus, 200) == first(load_corpus("microworld", split, n=200), 200)
    assert first(load_corpus("microworld", split, n=200, seed=1), 200) != first(corpus, 200)


def test_endless_and_finite():
    stream = load_corpus("microworld")
    assert stream.endless and first(stream, 30) == list(load_corpus("microworld", n=30))
    for refused in (lambda: len(stream), lambda: stream[0]):
        with pytest.raises(TypeError, match="endless stream"):
            refused()
    heldout = load_corpus("microworld", "heldout")
    assert len(heldout) == 500 * len(heldout.kinds)
    assert {document.kind for document in heldout} == set(heldout.kinds)
    some = load_corpus("microworld", "heldout", kinds=["years", "capitals"])
    assert len(some) == 1000 and {document.kind for document in some} == {"years", "capitals"}


@pytest.mark.parametrize("source", ["microworld", "python"])
@pytest.mark.parametrize("split", SPLITS)
def test_spans_lie_in_the_text(source, split):
    corpus = load_corpus(source, split, n=300)
    for document in corpus:
        assert document.text.strip()
        for span in document.spans:
            assert 0 <= span.start < span.end <= len(document.text)
            assert span.concept in corpus.concepts


def test_own_text(tmp_path):
    assert [document.text for document in load_corpus(["one", "two", "three"], n=2)] == ["one", "two"]
    (tmp_path / "b.txt").write_text("zwei", encoding="utf-8")
    (tmp_path / "a.txt").write_text("ünö\r\n", encoding="utf-8", newline="")
    (tmp_path / "c.html").write_text("not read")
    assert [document.text for document in load_corpus(tmp_path)] == ["ünö\n", "zwei"]
    assert load_corpus(tmp_path / "b.txt")[0].text == "zwei"


def test_bad_input(tmp_path):
    (tmp_path / "latin.txt").write_bytes("né".encode("latin-1"))
    (tmp_path / "empty.txt").write_text("  \n")
    (tmp_path / "nothing").mkdir()
    for wrong, message in [
        (lambda: load_corpus("microwrld"), "'microwrld'; the closest is 'microworld'"),
        (lambda: load_corpus("microworld", "held_out"), "no split 'held_out'; the closest is 'heldout'"),
        (lambda: load_corpus("microworld", kinds=["capital"]), "no kind 'capital'; the closest is 'capitals'"),
        (lambda: load_corpus("microworld", kinds=[]), "kinds is empty"),
        (lambda: load_corpus("microworld", "heldout", n=10_000), "holds 9,500"),
        (lambda: load_corpus("microworld", n=0), "at least 1"),
        (lambda: load_corpus([]), "empty"),
        (lambda: load_corpus(["a"], n=2), "n=2"),
        (lambda: load_corpus(["a"], "heldout"), "no splits"),
        (lambda: load_corpus(tmp_path / "empty.txt"), "empty"),
        (lambda: load_corpus(tmp_path / "nothing"), "empty"),
        (lambda: load_corpus(tmp_path / "latin.txt"), "not UTF-8 text: byte 1 is 0xe9"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()
    with pytest.raises(FileNotFoundError, match="no corpus, file or folder"):
        load_corpus(tmp_path / "missing.txt")
    with pytest.raises(TypeError, match="found int at place 1"):
        load_corpus(["a", 2])  # type: ignore[list-item]


def test_drawing_escapes_and_survives_crossing_spans():
    text = "<script>alert(1)</script> & so"
    spans = (Span(0, 12, 'a"<b'), Span(5, 20, "crossing"), Span(5, 12, "nested"), Span(0, len(text), "all"))
    html = Corpus([Document(text, "<kind>", spans)], name="<name>")._repr_html_()
    assert "<script" not in html and "<kind>" not in html and "<name>" not in html and 'a"<b' not in html
    assert html.count("<span") == html.count("</span>") and html.count("<div") == html.count("</div>")
    for concept in ("crossing", "nested", "all"):
        assert f"</i>{concept}</span>" in html
    assert "endless stream" in load_corpus("microworld")._repr_html_()


def test_imports_without_torch():
    code = "import saekit.corpora, sys; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.timing
def test_speed():
    stream = iter(load_corpus("microworld"))
    next(stream)
    began, characters = time.process_time(), 0
    while characters < 400_000:
        characters += len(next(stream).text)
    rate = characters / (time.process_time() - began) / 1e6
    print(f"microworld: {rate:.2f} MB of labelled text a second")
    assert rate > 1 / 3
