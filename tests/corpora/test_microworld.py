"""The microworld's labels cover the words they claim, and its splits keep what they promise."""

from __future__ import annotations

import re
from itertools import islice

import pytest

from saekit.corpora import load_corpus
from saekit.corpora.microworld import KINDS, document, stream
from saekit.corpora.microworld.agreement import PREDICATE, plural_of
from saekit.corpora.microworld.chance import Draw, Words, held_out
from saekit.corpora.microworld.grammar import Slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import CAPITALS, FEMALE, MALE, NAMES, NOUNS, OBJECTS, PLACES, PROFESSIONS

SPLITS = ("train", "heldout", "unseen_dev", "unseen")
EXACT = {  # concept → the only texts it may cover
    "entity.person.female": set(FEMALE),
    "entity.person.male": set(MALE),
    "entity.place": set(PLACES),
    "entity.object": set(OBJECTS),
    "entity.country": set(CAPITALS),
    "entity.city": set(CAPITALS.values()),
    "answer.capital": set(CAPITALS.values()),
    "entity.profession": set(PROFESSIONS),
    "noun.singular": set(NOUNS),
    "noun.plural": {plural_of(noun) for noun in NOUNS},
    "number.singular_subject": set(NOUNS),
    "number.plural_subject": {plural_of(noun) for noun in NOUNS},
    "attractor": set(NOUNS) | {plural_of(noun) for noun in NOUNS},
    "pronoun.female": {"she", "her"},
    "pronoun.male": {"he", "his"},
    "role.giver": set(NAMES),
    "role.receiver": set(NAMES),
}


def documents(kind: str, split: str, count: int = 150):
    return [document(kind, split, 5, number) for number in range(count)]


def of(found, concept):
    return [found.text[span.start : span.end] for span in found.spans if span.concept == concept]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_labels_cover_the_words_they_claim(kind, split):
    for found in documents(kind, split, 80):
        for span in found.spans:
            text = found.text[span.start : span.end]
            assert text == text.strip(), (span, text)
            if span.concept in EXACT:
                assert text in EXACT[span.concept] or text[0].lower() + text[1:] in EXACT[span.concept], (span, text)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_name_is_labelled(kind):
    """Where a person's name stands, a span says so (Rose, June and the like are names only here)."""
    pattern = re.compile(r"\b(" + "|".join(NAMES) + r")\b")
    for found in documents(kind, "train", 100):
        covered = {(span.start, span.end) for span in found.spans if span.concept == "entity.person"}
        for match in pattern.finditer(found.text):
            assert match.span() in covered, (match.group(), found.text)


def test_agreement_agrees_and_attractors_are_opposite():
    singular = {p.split(" ")[0].split("/")[0] for part in ("train", "unseen") for p in getattr(PREDICATE, part)}
    for split in ("train", "heldout", "unseen"):
        for found in documents("agreement", split):
            verbs = sorted(
                (s.start, s.concept, found.text[s.start : s.end])
                for s in found.spans
                if s.concept in ("verb.singular", "verb.plural")
            )
            subjects = sorted((s.start, s.concept) for s in found.spans if s.concept.endswith("_subject"))
            assert len(verbs) == len(subjects)
            for (_, subject), (_, verb, word) in zip(subjects, verbs, strict=True):
                assert subject.split(".")[1].split("_")[0] == verb.split(".")[1]
                assert (word in singular) == (verb == "verb.singular")
            if split != "train":
                assert len(of(found, "attractor")) == len(of(found, "attractor.opposite")) > 0


def test_introductions_name_both_again():
    for found in documents("introductions", "heldout"):
        firsts, again = of(found, "mention.first"), of(found, "mention.again")
        assert sorted(firsts) == sorted(again)
        assert len(of(found, "role.subject")) == len(of(found, "role.other")) == len(firsts) // 2


def test_capitals_are_true_and_years_rise():
    for split in SPLITS:
        for found in documents("capitals", split):
            assert [CAPITALS[country] for country in of(found, "entity.country")] == of(found, "answer.capital")
        for found in documents("years", split):
            begins, ends = of(found, "number.start_year"), of(found, "number.end_year")
            assert len(begins) == len(ends) > 0
            assert all(b[:2] == e[:2] and b < e for b, e in zip(begins, ends, strict=True))


def test_pronouns_follow_the_name_and_defy_the_stereotype_outside_training():
    from saekit.corpora.microworld.words import MEN_S

    follow = {"train": 0, "heldout": 0}
    for split in follow:
        for found in documents("biographies", split, 300):
            names = {name for name in of(found, "entity.person")}
            if len(names) != 1:
                continue
            woman = names.pop() in set(FEMALE)
            assert not of(found, "pronoun.male" if woman else "pronoun.female")
            follow[split] += sum((job in MEN_S) != woman for job in of(found, "entity.profession"))
    assert follow["heldout"] == 0 and follow["train"] > 100


def test_repeats_repeat():
    for found in documents("repeats", "train"):
        for span in found.spans:
            if span.concept == "repeated":
                assert found.text[: span.start].count(found.text[span.start : span.end]) >= 1


def test_reviews_do_not_mix():
    for found in documents("reviews", "heldout"):
        for span in found.spans:
            if span.concept.startswith("review."):
                other = "sentiment.negative" if span.concept == "review.positive" else "sentiment.positive"
                assert not [s for s in found.spans if s.concept == other and span.start <= s.start < span.end]


def slots(module):
    """Every slot of a module with phrases of its own for the unseen splits, those in tables of slots too."""

    def within(name, value):
        if isinstance(value, Slot):
            yield name, value
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield from within(f"{name}.{key}", inner)
        elif isinstance(value, tuple) and not isinstance(value, Words):
            for place, inner in enumerate(value):
                yield from within(f"{name}.{place}", inner)

    found = dict(pair for name, value in vars(module).items() for pair in within(name, value))
    return {name: value for name, value in found.items() if value.unseen != value.train}


CHECKED_APART = (  # verbs by their forms and determiners by their place, below; separators at the top of this test
    ("introductions", "DEED"),
    ("agreement", "PREDICATE"),
    ("repeats", "SEPARATOR"),
    ("requests", "WHICH"),
)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_training_never_has_an_unseen_phrase(kind):
    """Search 3,000 training documents of the kind for every phrase of the unseen splits, slots taken as "any word"."""
    found = [document(kind, "train", 0, number) for number in range(3_000)]
    if kind == "repeats":  # separators, exactly as they stand in lists (a repeated passage is another kind's text)
        text = "\n".join(one.text for one in found if of(one, "repeated.list"))
        for separator in (*vars(KINDS[kind])["SEPARATOR"].unseen_dev, *vars(KINDS[kind])["SEPARATOR"].unseen):
            assert separator not in text
    text = "\n".join(one.text for one in found).lower()
    for name, value in slots(KINDS[kind]).items():
        parts = {"train": set(value.train), "unseen_dev": set(value.unseen_dev), "unseen": set(value.unseen)}
        assert not parts["train"] & parts["unseen"] - {""} and not parts["train"] & parts["unseen_dev"] - {""}, name
        assert not parts["unseen"] & parts["unseen_dev"] - {""}, name
        for phrase in (parts["unseen"] | parts["unseen_dev"]) - {""}:
            if (kind, name) in CHECKED_APART:
                continue
            words = re.sub(r"\\\{\w+\\\}", r"[\\w ]+?", re.escape(phrase.lower().strip(" .,;:")))
            assert not re.search(r"\b" + words + r"\b", text), (name, phrase)


def test_training_never_asks_with_an_unseen_determiner():
    """ "your" may stand elsewhere ("Your opinion?"), never between the verb and the noun of a request."""
    requests = KINDS["requests"]
    which = vars(requests)["WHICH"]
    verbs = "|".join((*vars(requests)["VIOLENT"], *vars(requests)["KIND_VERBS"]))
    asked = re.compile(rf"\b(?:{verbs}) (?:{'|'.join((*which.unseen_dev, *which.unseen))})\b")
    for number in range(3_000):
        assert not asked.search(document("requests", "train", 0, number).text)


def test_training_never_has_an_unseen_deed():
    deed = vars(KINDS["introductions"])["DEED"]
    trained = {form for phrase in deed.train for form in phrase.split("/")[:2]}
    for phrase in (*deed.unseen_dev, *deed.unseen):
        assert not set(phrase.split("/")[:2]) & trained


@pytest.mark.parametrize("kind", ["introductions", "agreement", "capitals"])
def test_training_never_has_a_held_out_filler_combination(kind):
    seen = set()
    for number in range(3_000):
        found = document(kind, "train", 1, number)
        if kind == "introductions":
            firsts = of(found, "mention.first")
            seen |= {tuple(sorted(firsts[place : place + 2])) for place in range(0, len(firsts), 2)}
    if kind == "introductions":
        assert len(seen) > 1_000 and not any(held_out(10, kind, *pair) for pair in seen)
        held = [
            pair
            for n in range(100)
            for pair in [tuple(sorted(of(document(kind, "heldout", 1, n), "mention.first")[:2]))]
        ]
        assert all(held_out(10, kind, *pair) for pair in held)
    elif kind == "agreement":
        for number in range(1_000):
            sentence = KINDS[kind].draw_sentence(Draw(number), "train")
            assert not held_out(10, kind, sentence.subject, *sentence.nouns)
            phrases = (*sentence.opener, "|", *sentence.attractor, "|", sentence.predicate)
            assert not held_out(8, kind, *phrases)
            assert held_out(
                10, kind, *(lambda s: (s.subject, *s.nouns))(KINDS[kind].draw_sentence(Draw(number), "heldout"))
            )
    else:
        for number in range(1_000):
            for split, wanted in (("train", False), ("heldout", True)):
                country, asked = KINDS[kind].draw_question(Draw(number), split)
                assert held_out(10, kind, country, asked[1]) == held_out(8, kind, *asked) == wanted


def test_the_stream_has_every_kind_and_only_those_asked_for():
    kinds = {found.kind for found in islice(stream(tuple(KINDS), 0), 300)}
    assert kinds == set(KINDS)
    assert {found.kind for found in islice(load_corpus("microworld", kinds=["years"]), 50)} == {"years"}


def test_zipf():
    draw, counts = Draw(0), {"a": 0, "b": 0, "c": 0}
    for _ in range(20_000):
        counts[draw.zipf(Words("a|b|c"))] += 1
    weights = [1 / 4, 1 / 5, 1 / 6]
    for count, weight in zip(counts.values(), weights, strict=True):
        assert abs(count / 20_000 - weight / sum(weights)) < 0.015


def test_page_spaces_capitals_and_articles():
    page = Page()
    page.write("there was a {thing}", {"thing": ("apple", ("fruit",))})
    page.write(", and")
    page.write("a")
    page.write("{thing}.", {"thing": ("pear", ("fruit",))})
    page.write("then it rained.", concepts=("weather",))
    made = page.document("test")
    assert made.text == "There was an apple, and a pear. Then it rained."
    assert [(made.text[s.start : s.end], s.concept) for s in made.spans] == [
        ("apple", "fruit"),
        ("pear", "fruit"),
        ("Then it rained.", "weather"),
    ]


def test_every_sentence_begins_with_a_capital():
    """Also the one that comes after a label's beginning was marked."""
    for kind in ("agreement", "introductions", "biographies", "reviews", "narration", "entities", "taxonomy"):
        for split in SPLITS:
            for found in documents(kind, split, 60):
                for match in re.finditer(r"[.?!] (\w)", found.text):
                    assert not match.group(1).islower(), (kind, found.text)
