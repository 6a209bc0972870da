"""Pipelines: the next part follows from the name and the last part, and from nothing else; splits keep apart."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from saekit import models
from saekit.corpora import Document, load_corpus
from saekit.corpora.microworld.chance import held_out
from saekit.corpora.pipelines import BEGIN, END, ORDERS, PARTS, THEN

SPLITS = ("train", "heldout", "unseen_dev", "unseen")


def pieces(document: Document, concept: str) -> list[str]:
    return [document.text[span.start : span.end] for span in document.spans if span.concept == concept]


@pytest.mark.parametrize("split", SPLITS)
def test_a_document_follows_its_ring_and_says_no_part_twice(split):
    for document in load_corpus("pipelines", split, n=200):
        (name,) = pieces(document, "pipeline.name")
        parts, ring = pieces(document, "pipeline.part"), ORDERS[name]
        assert 8 <= len(parts) == len(set(parts)) <= len(ring) and set(parts) <= set(PARTS)
        for one, after in pairwise(parts):
            assert ring[(ring.index(one) + 1) % len(ring)] == after
        assert pieces(document, "pipeline.part.first") + pieces(document, "pipeline.part.next") == parts
        assert pieces(document, "pipeline") == [document.text] and document.kind == "pipelines"
        assert re.findall("|".join(PARTS), document.text) == parts, "and every part that is said is labelled"


def test_the_last_part_alone_does_not_tell_the_next():
    """Else one direction could stand for the part that was read and for the one that is due."""
    after = {part: {ring[(ring.index(part) + 1) % len(ring)] for ring in ORDERS.values()} for part in PARTS}
    assert all(sorted(ring) == sorted(PARTS) for ring in ORDERS.values())
    assert sum(len(each) >= 3 for each in after.values()) >= 14 and min(map(len, after.values())) >= 2


def test_splits_keep_what_they_promise():
    for document in load_corpus("pipelines", n=2_000):
        assert not held_out(10, "pipelines", *pieces(document, "pipeline.name"), *pieces(document, "pipeline.part")[:1])
        for slot in (BEGIN, THEN, END):
            for phrase in {*slot.unseen_dev, *slot.unseen}:
                words = phrase.split("{name}")[0].strip(" ,:.")
                assert not re.search(rf"\b{words}\b", document.text), phrase
    begun = {(*pieces(d, "pipeline.name"), pieces(d, "pipeline.part")[0]) for d in load_corpus("pipelines", "heldout")}
    assert len(begun) > 4 and all(held_out(10, "pipelines", *each) for each in begun)


def test_the_embedded_model_knows_the_words_and_not_what_follows():
    """Each part is a token of its own, and no word of the microworld."""
    tokenizer = Tokenizer.from_file(str(Path(models.__file__).parent / "micro" / "tokenizer.json"))
    assert all(len(tokenizer.encode(f" {part}", add_special_tokens=False).ids) == 1 for part in PARTS)
    text = " ".join(document.text for document in load_corpus("microworld", n=1_500)).lower()
    assert not [part for part in PARTS if re.search(rf"\b{part}\b", text)]


def test_it_is_loaded_as_the_others_are():
    corpus = load_corpus("pipelines", seed=3)
    assert corpus.endless and corpus.kinds == ("pipelines",) and "pipeline.part.next" in corpus.concepts
    assert corpus.fingerprint == load_corpus("pipelines", seed=3).fingerprint != load_corpus("pipelines").fingerprint
    assert len(load_corpus("pipelines", "unseen")) == 500 and len(load_corpus("pipelines", n=7)) == 7
    with pytest.raises(ValueError, match="n=501 documents are asked for, but heldout of 'pipelines' holds 500"):
        load_corpus("pipelines", "heldout", n=501)
    with pytest.raises(ValueError, match="there is no kind 'recipes'"):
        load_corpus("pipelines", kinds=["recipes"])
    with pytest.raises(ValueError, match=r"correlation is of the microworld's biographies, found 0\.5 for 'pipelines'"):
        load_corpus("pipelines", correlation=0.5)
    with pytest.raises(ValueError, match="pipelines are not installed anywhere"):
        load_corpus("pipelines", installed=True)
