"""A corpus where a source of text is taken: it is what it was, or its beginning."""

import pytest

import saekit as sk


def test_a_corpus_stays_what_it_is():
    heldout = sk.load_corpus("microworld", split="heldout", n=40)
    assert sk.load_corpus(heldout) is heldout and sk.load_corpus(heldout, "heldout") is heldout
    first = sk.load_corpus(heldout, n=5)
    assert list(first) == list(heldout)[:5] and (first.name, first.split) == ("microworld", "heldout")
    some = sk.load_corpus(sk.load_corpus("microworld"), n=3)  # of an endless one
    assert not some.endless and list(some) == list(sk.load_corpus("microworld", n=3))


def test_a_corpus_is_not_made_another():
    heldout = sk.load_corpus("microworld", split="heldout", n=4)
    with pytest.raises(ValueError, match=r"this corpus is the split 'heldout' of 'microworld', not 'train'"):
        sk.load_corpus(heldout, "train")
    with pytest.raises(ValueError, match=r"n=5 documents are asked for, but the corpus holds 4"):
        sk.load_corpus(heldout, n=5)
