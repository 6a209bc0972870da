"""The check under "F1": the right answer passes in every way of writing it, each mistake gets its own diagnosis."""

from __future__ import annotations

import pytest
import torch

from saekit.checks import check_f1


def harmonic(hits, fired, positives):
    if hits == 0:
        return 0.0
    precision, recall = hits / fired, hits / positives
    return 2 * precision * recall / (precision + recall)


def only_when_it_fires(value):
    """An answer that minds the division by zero, so that nothing else is wrong with it."""
    return lambda hits, fired, positives: value(hits, fired, positives) if fired else 0.0


def without_an_else(hits, fired, positives):
    if fired:
        return 2 * hits / (fired + positives)


RIGHT = {
    "one line": lambda h, f, n: 2 * h / (f + n) if f + n else 0.0,
    "a whole zero": lambda h, f, n: 2 * h / (f + n) if f + n else 0,
    "harmonic mean": harmonic,
    "no branch": lambda h, f, n: 2 * h / max(f + n, 1),
    "a tensor": lambda h, f, n: torch.tensor(2 * h / max(f + n, 1), dtype=torch.float64),
    "single precision": lambda h, f, n: float(torch.tensor(2.0 * h) / max(f + n, 1)),
}
WRONG = {
    "precision": (only_when_it_fires(lambda h, f, n: h / f), r"0\.75 is the precision alone"),
    "recall": (lambda h, f, n: h / n, r"0\.25 is the recall alone"),
    "plain mean": (only_when_it_fires(lambda h, f, n: (h / f + h / n) / 2), r"0\.50 is the plain mean"),
    "nothing": (lambda h, f, n: print(2 * h / (f + n)), "returned None: did you forget to return"),
    "a constant of nothing": (lambda h, f, n: None, "did you forget to return"),
    "without the two": (only_when_it_fires(lambda h, f, n: h / (f + n)), r"should be 0\.3750, found 0\.1875"),
    "overlap over union": (only_when_it_fires(lambda h, f, n: h / (f + n - h)), r"should be 0\.3750, found 0\.2308"),
    "geometric mean": (only_when_it_fires(lambda h, f, n: h / (f * n) ** 0.5), r"should be 0\.3750, found 0\.4330"),
    "a percentage": (only_when_it_fires(lambda h, f, n: 200 * h / (f + n)), r"should be 0\.3750, found 37\.5"),
    "rounded": (only_when_it_fires(lambda h, f, n: round(2 * h / (f + n), 2)), r"should be 0\.3750, found 0\.38"),
    "not a number": (lambda h, f, n: float("nan"), r"should be 0\.3750, found nan"),
    "zero divided": (lambda h, f, n: 2 / (f / h + n / h), "mind the division by zero"),
    "zero divided without positives": (lambda h, f, n: 2 * h / (f + n), "mind the division by zero"),
    "silent as nan": (lambda h, f, n: harmonic(h, f, n) if h else float("nan"), "should have F1 0, found nan"),
    "silent as one": (lambda h, f, n: harmonic(h, f, n) if h else 1.0, r"should have F1 0, found 1\.0"),
    "silent as nothing": (without_an_else, "should have F1 0, found None"),
    "a text": (lambda h, f, n: f"{2 * h / (f + n):.2f}", "should return a number, found '0.38'"),
    "unwritten": (lambda h, f, n: ..., "should return a number, found Ellipsis"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name):
    assert check_f1(RIGHT[name]).startswith("Right")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_diagnosed(name):
    answer, diagnosis = WRONG[name]
    with pytest.raises(AssertionError, match=diagnosis):
        check_f1(answer)


def test_every_diagnosis_is_one_line():
    for answer, _ in WRONG.values():
        with pytest.raises(AssertionError) as error:
            check_f1(answer)
        assert "\n" not in str(error.value)
