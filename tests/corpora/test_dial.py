"""The dial for the correlation of profession and gender, and the share of each kind."""

from __future__ import annotations

import pytest

from saekit.corpora import Document, load_corpus
from saekit.corpora.microworld.words import FEMALE_SET, MEN_S


def follow(corpus) -> float:
    """Share of the people whose profession is their gender's."""
    yes = total = 0
    for document in corpus:
        text = document.text
        spans = {concept: [s for s in document.spans if s.concept == concept] for concept in ("entity.person",)}
        jobs = [text[s.start : s.end] for s in document.spans if s.concept == "entity.profession"]
        names = {text[s.start : s.end] for s in spans["entity.person"]}
        if len(names) != 1 or len(set(jobs)) != 1:
            continue  # a page of two people says nothing clear
        total += 1
        yes += (jobs[0] in MEN_S) != (names.pop() in FEMALE_SET)
    assert total > 100
    return yes / total


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_the_dial(split, correlation):
    found = follow(load_corpus("microworld", split=split, kinds=["biographies"], n=500, correlation=correlation))
    assert abs(found - correlation) <= (0 if correlation in (0, 1) else 0.12)


def test_without_the_dial():
    assert abs(follow(load_corpus("microworld", kinds=["biographies"], n=600)) - 0.85) < 0.06
    assert follow(load_corpus("microworld", split="heldout", kinds=["biographies"])) == 0


@pytest.mark.parametrize("source", ["python", ["a text"]])
def test_refused_where_there_are_no_biographies(source):
    with pytest.raises(ValueError, match="correlation"):
        load_corpus(source, correlation=0.5)


def test_refused_beyond_one():
    with pytest.raises(ValueError, match=r"0 to 1, found 1\.5"):
        load_corpus("microworld", correlation=1.5)


def test_shares():
    corpus = load_corpus([Document("abc", "a"), Document("d", "b")])
    assert corpus.shares == {"a": 0.75, "b": 0.25}
    shares = load_corpus("microworld").shares
    assert sum(shares.values()) == pytest.approx(1) and len(shares) == 19
    assert "introductions" in load_corpus("microworld", n=50)._repr_html_().split("characters by kind")[1]
