"""mixed: each corpus has its share of the characters, in the order of its own."""

from __future__ import annotations

from itertools import islice

import pytest

from saekit.corpora import load_corpus, mixed


def test_by_hand():
    """The corpus furthest behind is next; of equals the first; it ends where one has no more."""
    a, b = load_corpus(["aaaa"] * 9), load_corpus(["bb"] * 5)
    assert [d.text[0] for d in mixed([a, b])] == list("abbabbab")
    assert [d.text[0] for d in mixed([a, b], shares=[2, 1])] == list("abababababa")
    assert [d.text[0] for d in mixed([a, b], shares=[4, 1])] == list("abaabaabaabaab")


def test_shares_of_streams():
    parts = [load_corpus("microworld", seed=1), load_corpus("pipelines", seed=1)]
    corpus = mixed(parts, shares=[3, 1])
    assert corpus.endless and corpus.name == "microworld+pipelines" and corpus.seed == 1
    assert corpus.shares["pipelines"] == pytest.approx(0.25, abs=0.01)
    some = list(islice(iter(corpus), 200))
    own = [document for document in some if document.kind == "pipelines"]
    assert own == list(islice(iter(parts[1]), len(own))), "its documents, in its order"
    assert some == list(islice(iter(corpus), 200)) and len(corpus.kinds) == 20


def test_a_finite_one_ends_it():
    corpus = mixed([load_corpus("pipelines"), load_corpus("pipelines", n=3, seed=1)])
    assert not corpus.endless and 5 <= len(corpus) <= 8


def test_bad_input():
    train, heldout = load_corpus("pipelines"), load_corpus("pipelines", "heldout", n=5)
    with pytest.raises(ValueError, match="two corpora or more, found 1"):
        mixed([train])
    with pytest.raises(ValueError, match="corpora of one split are mixed, found train, heldout"):
        mixed([train, heldout])
    with pytest.raises(ValueError, match="a share for each corpus, found 3 for 2"):
        mixed([train, train], shares=[1, 2, 3])
    with pytest.raises(ValueError, match="a share is a number above 0, found 0"):
        mixed([train, train], shares=[1, 0])
