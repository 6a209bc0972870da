"""Predicates: what holds where, worked out by hand; JSON there and back."""

from __future__ import annotations

import json

import pytest

from saekit.corpora.predicates import After, And, Before, Concept, Not, Or, Tokens, from_json


def where(predicate, window) -> list[int]:
    return [i for i, holds in enumerate(predicate.holds(window)) if holds]


def test_a_concept_holds_at_its_children_and_not_at_names_that_only_begin_alike(window):
    text = window("a|entity.person b|entity c|entity2 d|entity.person.female e|noun,entity f")
    assert where(Concept("entity"), text) == [0, 1, 3, 4]
    assert where(Concept("entity.person"), text) == [0, 3]
    assert where(Concept("person"), text) == []


def test_tokens_are_exact_and_words_are_not(window):
    text = window("The cat the THE")
    assert where(Tokens(frozenset({" the"})), text) == [2]
    assert where(Tokens(frozenset({"The", " cat"})), text) == [0, 1]
    assert where(Tokens(frozenset({" tHe"}), fold=True), text) == [0, 2, 3]
    assert Tokens(frozenset({" The"}), fold=True) == Tokens(frozenset({"the"}), fold=True)


def test_uncounted_tokens_never_fit(window):
    text = window("a|entity b", bos=True)
    assert where(Concept("entity"), text) == [1]
    assert where(~Concept("entity"), text) == [2]
    assert where(~Concept("nothing"), text) == [1, 2]
    assert where(~~Concept("nothing"), text) == []


def test_and_or_not(window):
    text = window("a|x b|x,y c|y d")
    x, y = Concept("x"), Concept("y")
    assert where(x & y, text) == [1]
    assert where(x | y, text) == [0, 1, 2]
    assert where(x & ~y, text) == [0]
    assert where(~(x | y), text) == [3]


def test_after_and_before_skip_uncounted_tokens(window):
    text = window("a b|x c d", counted=(True, True, False, True))
    assert where(After(Concept("x")), text) == [3]
    assert where(After(~Concept("x")), text) == [1]  # 0: what precedes is not seen
    assert where(Before(Concept("x")), text) == [0]
    assert where(Before(Tokens(frozenset({" d"}))), text) == [1]
    assert where(Before(~Concept("nothing")), text) == [0, 1]


def test_nested_ands_are_one():
    a, b, c = Concept("a"), Concept("b"), Concept("c")
    assert a & (b & c) == (a & b) & c == And((a, b, c))
    assert a & b != a | b
    assert isinstance((a | b | c), Or) and len((a | b | c).parts) == 3
    assert (a & (b | c)).parts == (a, b | c)


def test_text_keeps_what_belongs_together():
    a, b, c = Concept("a"), Tokens(frozenset({" x", "it's"})), Concept("two words")
    assert str((a | b) & ~(a & c)) == "(concept(a) | tokens(' x', \"it's\")) & ~(concept(a) & concept('two words'))"
    assert str(a | b & c) == "concept(a) | tokens(' x', \"it's\") & concept('two words')"


def test_json_there_and_back():
    predicate = (Concept("entity") & ~Tokens(frozenset({" a", "<script>"}))) | After(
        Before(Not(Tokens(frozenset({"the"}), fold=True)))
    )
    text = json.dumps(predicate.to_json())
    assert from_json(json.loads(text)) == predicate
    assert predicate.to_json()["or"][0] == {"and": [{"concept": "entity"}, {"not": {"tokens": [" a", "<script>"]}}]}


@pytest.mark.parametrize(
    "data",
    [None, [], "concept", {}, {"concept": 3}, {"concept": "a", "not": 1}, {"tokens": "the"}, {"tokens": [1]},
     {"tokens": []}, {"and": []}, {"and": [{"concept": "a"}]}, {"not": []}, {"eval": "1"}, {"words": {"a": 1}}],
)  # fmt: skip
def test_json_that_is_no_predicate_is_refused(data):
    with pytest.raises(ValueError):
        from_json(data)


def test_json_nested_without_end_is_refused():
    data = {"concept": "a"}
    for _ in range(10_000):
        data = {"not": data}
    with pytest.raises(ValueError, match="50 levels"):
        from_json(data)


def test_wrong_parts_are_refused():
    with pytest.raises(TypeError, match="unsupported operand"):
        Concept("a") & "b"
    with pytest.raises(TypeError, match="joins predicates"):
        And((Concept("a"), "b"))
    with pytest.raises(ValueError, match="at least two"):
        Or((Concept("a"),))
    with pytest.raises(ValueError, match="at least one text"):
        Tokens(frozenset())
    with pytest.raises(TypeError, match="set of token texts"):
        Tokens(" the")
