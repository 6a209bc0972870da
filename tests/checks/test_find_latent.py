"""The check under "find the latent of a concept": the right answer passes, each mistake gets its own diagnosis."""

from __future__ import annotations

import pytest
import torch

from saekit import checks


def counts(fires, positive):
    """Hits, firings and positives, as floats."""
    return fires[positive].sum(0).double(), fires.sum(0).double(), positive.sum().double()


def by(score):
    return lambda fires, positive: int(score(*counts(fires, positive)).argmax())


RIGHT = {
    "two lines": by(lambda hits, fired, n: 2 * hits / (fired + n)),
    "harmonic mean": by(lambda hits, fired, n: torch.nan_to_num(2 / (fired / hits + n / hits))),
    "numpy": lambda fires, positive: (
        2 * fires[positive].sum(0).numpy() / (fires.sum(0).numpy() + positive.sum().numpy())
    ).argmax(),
}
WRONG = {
    "precision": (by(lambda hits, fired, n: torch.nan_to_num(hits / fired)), "best precision"),
    "recall": (by(lambda hits, fired, n: hits / n), "best recall"),
    "hits": (by(lambda hits, fired, n: hits), "best recall"),
    "plain mean": (by(lambda hits, fired, n: torch.nan_to_num(hits / fired) + hits / n), "plain mean"),
    "accuracy": (by(lambda hits, fired, n: 1000 - fired - n + 2 * hits), "share of tokens it is right about"),
    "not a number": (by(lambda hits, fired, n: 2 / (fired / hits + n / hits)), "0 / 0 is not a number"),
    "negatives": (lambda fires, positive: by(lambda h, f, n: 2 * h / (f + n))(fires, ~positive), "mix up positive"),
    "nothing": (lambda fires, positive: None, "forget to return"),
    "the score": (lambda fires, positive: 560, "is it an index"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name):
    assert checks.check_find_latent(RIGHT[name]).startswith("Right")


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_diagnosed(name):
    answer, diagnosis = WRONG[name]
    with pytest.raises(AssertionError, match=diagnosis):
        checks.check_find_latent(answer)


def test_a_constant_cannot_pass():
    for constant in range(6):
        with pytest.raises(AssertionError):
            checks.check_find_latent(lambda fires, positive, c=constant: c)
