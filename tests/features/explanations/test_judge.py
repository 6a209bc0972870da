"""PredicateJudge: what detection and fuzzing mean for a predicate; free text is refused with the nearest predicate."""

from __future__ import annotations

import pytest

from saekit.features.explanations import Concept, MarkedWindow, PredicateJudge, Tokens
from saekit.features.explanations.judge import explanation_text, nearest_predicate

JUDGE = PredicateJudge()


def test_detect_asks_whether_it_holds_anywhere(window):
    windows = [window("a b|x c"), window("a b c"), window("x y", bos=True)]
    assert JUDGE.detect(Concept("x"), windows) == [True, False, False]
    assert JUDGE.detect("tokens('x') | concept(x)", windows) == [True, False, True]
    assert JUDGE.detect(Concept("entity"), windows) == [False, False, False]  # the label of BOS


@pytest.mark.parametrize(
    ("marked", "answer"),
    [("1000", True), ("0010", False), ("1100", True), ("1010", True), ("0110", True), ("1011", False), ("0000", False)],
)
def test_fuzz_asks_for_half_of_the_marked_tokens(window, marked, answer):
    text = window("a|x b|x c d")
    assert JUDGE.fuzz(Concept("x"), [MarkedWindow(text, tuple(m == "1" for m in marked))]) == [answer]


def test_marks_must_fit_the_window(window):
    with pytest.raises(ValueError, match="2 marks for 3 tokens"):
        MarkedWindow(window("a b c"), (True, False))


def test_free_text_is_refused_with_the_nearest_predicate(window):
    windows = [window("a|entity.person b|number.year c")]
    with pytest.raises(ValueError, match=r"free text.*ChatJudge\(url, model\).*LocalJudge.*concept\(entity.person\)"):
        JUDGE.detect("names of persons", windows)
    with pytest.raises(ValueError, match=r"concept\(number.year\)"):
        JUDGE.fuzz("a year", [MarkedWindow(windows[0], (True, False, False))])
    with pytest.raises(ValueError, match=r"words\('blue', 'seas', 'waves'\)"):
        JUDGE.detect("waves of blue seas", windows)
    with pytest.raises(TypeError, match="a predicate or a text, found int"):
        JUDGE.detect(3, windows)


def test_the_nearest_predicate_is_always_one():
    assert nearest_predicate("", ["entity"]) == Tokens(frozenset({"word"}), fold=True)
    assert nearest_predicate("<script>!") == Tokens(frozenset({"script"}), fold=True)
    assert nearest_predicate("ENTITIES", ["entity.person", "number"]) == Concept("entity.person")


def test_explanations_have_a_length():
    assert explanation_text(Concept("a")) == "concept(a)"
    with pytest.raises(ValueError, match="1 to 10,000 characters, found 0"):
        explanation_text("  ")
    with pytest.raises(ValueError, match="found 10,001"):
        explanation_text("x" * 10_001)
