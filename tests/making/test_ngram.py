"""The Witten-Bell 5-gram: against its equation written out, by hand, and as a distribution."""

from __future__ import annotations

from collections import defaultdict
from math import log

import numpy as np
import pytest

from saekit.making.ngram import WittenBell


def by_the_equation(documents, vocabulary, order, document):
    followers = defaultdict(lambda: defaultdict(int))
    for words in documents:
        for place, word in enumerate(words):
            for length in range(min(order, place + 1)):
                followers[tuple(words[place - length : place])][word] += 1

    def p(word, history):
        shorter = p(word, history[1:]) if history else 1 / vocabulary
        after = followers.get(history)
        if not after:
            return shorter
        return (after.get(word, 0) + len(after) * shorter) / (sum(after.values()) + len(after))

    return [p(word, tuple(document[max(0, place - order + 1) : place])) for place, word in enumerate(document)]


def test_three_tokens_by_hand():
    """After 0 came 1 and 1: p(1) = (2 + 2 · 1/4) / (4 + 2), p(1 | 0) = (2 + 1 · p(1)) / (2 + 1)."""
    model = WittenBell([[0, 1], [0, 1]], vocabulary=4, order=2)
    p_one = (2 + 2 / 4) / (4 + 2)
    assert model.log_probabilities([0, 1]) == pytest.approx([log(p_one), log((2 + p_one) / 3)])
    assert model.log_probabilities([3, 3]) == pytest.approx([log(2 / 4 / 6)] * 2)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_against_the_equation(order):
    random = np.random.default_rng(0)
    documents = [random.geometric(0.4, random.integers(1, 40)).clip(max=8).tolist() for _ in range(40)]
    unseen = random.geometric(0.3, 60).clip(max=8).tolist()
    model = WittenBell(documents, vocabulary=9, order=order)
    expected = np.log(by_the_equation(documents, 9, order, unseen))
    np.testing.assert_allclose(model.log_probabilities(unseen), expected, rtol=1e-12)


def test_a_distribution_after_every_history():
    model = WittenBell([[0, 1, 2, 0, 1, 3], [2, 2, 1]], vocabulary=5, order=3)
    for history in ([], [0], [0, 1], [4, 1], [2, 2], [4, 4]):
        total = sum(np.exp(model.log_probabilities([*history, word])[-1]) for word in range(5))
        assert total == pytest.approx(1)


def test_a_run_that_does_not_fit():
    with pytest.raises(ValueError, match="take order 4"):
        WittenBell([[1]], vocabulary=32_768, order=5)
