"""Intervals: numbers by hand, and how often they hold the truth where tokens of a document are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest

import saekit as sk
from saekit.metrics import bootstrap


def test_by_hand():
    # Documents of means 0 and 3, of two values and one: drawn are (a, a), (a, b) or (b, a), (b, b): 0, 1, 3.
    found = bootstrap([0.0, 0.0, 3.0], ["a", "a", "b"], draws=4000)
    assert (found.value, found.low, found.high, found.units) == (1.0, 0.0, 3.0, 2)
    halves = bootstrap([0.0, 0.0, 3.0], ["a", "a", "b"], draws=4000, level=0.4)  # the middle half of the draws is 1
    assert (halves.low, halves.high) == (1.0, 1.0)
    assert float(found) == 1.0 and str(found) == "1 [0, 3]"
    assert found.definition == "95% of 4,000 samples of 2 documents, drawn with replacement"


def test_whole_documents_hold_the_truth_and_single_tokens_do_not():
    generator, held = np.random.default_rng(0), {"documents": 0, "tokens": 0}
    for trial in range(200):  # 40 documents of 20 tokens that share most of their value; the mean of all there are is 0
        documents = np.repeat(np.arange(40), 20)
        values = generator.normal(size=40)[documents] + 0.3 * generator.normal(size=800)
        by_document = bootstrap(values, documents, draws=200, seed=trial)
        by_token = bootstrap(values, draws=200, seed=trial)
        held["documents"] += by_document.low <= 0 <= by_document.high
        held["tokens"] += by_token.low <= 0 <= by_token.high
    assert 0.89 <= held["documents"] / 200 <= 0.98, held
    assert held["tokens"] / 200 < 0.5, held


def test_any_statistic_of_whole_documents():
    values = np.array([[1.0, 0.0], [5.0, 1.0], [2.0, 0.0], [4.0, 1.0]])
    seen = []

    def gap(rows: np.ndarray) -> float:
        seen.append(sorted(rows[:, 1]))
        return float(rows[rows[:, 1] == 1, 0].mean() - rows[rows[:, 1] == 0, 0].mean())

    found = bootstrap(values, [7, 7, 3, 3], gap, draws=500)
    assert (found.value, found.low, found.high) == (3.0, 2.0, 4.0)
    assert all(each == [0, 0, 1, 1] for each in seen), "a document's rows stay together"


def test_samples_without_a_number_are_counted():
    one_side = bootstrap(
        [[0.1, 0], [0.9, 1], [0.2, 0]], statistic=lambda rows: sk.metrics.auroc(rows[:, 0], rows[:, 1]), draws=300
    )
    # All three drawn of one class: 1/27 + 8/27 of the samples have no pair, too many for an interval.
    assert one_side.undefined == pytest.approx(100, abs=30) and math.isnan(one_side.low)
    assert f"{one_side.undefined} of them without a number" in one_side.definition
    alone = bootstrap([1.0, 2.0], [5, 5])
    assert alone.value == 1.5 and math.isnan(alone.low) and math.isnan(alone.high)


def test_the_seed_decides():
    values = np.random.default_rng(1).normal(size=50)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)


@pytest.mark.parametrize(
    ("given", "named", "sentence"),
    [
        ([], {}, "values is empty"),
        ([1.0, float("nan")], {}, "1 of 2 values are NaN or infinite"),
        ([1.0, 2.0], {"units": [1]}, r"2 values need the document of each, \[2\], found shape \(1,\)"),
        ([1.0, 2.0], {"level": 95}, "between 0 and 1, such as 0.95, found 95"),
        ([[1.0], [2.0]], {}, r"found shape \(2, 1\): give a statistic"),
        ([1.0, 2.0], {"draws": 0}, "draws must be at least 1, found 0"),
    ],
)
def test_bad_input(given, named, sentence):
    with pytest.raises(ValueError, match=sentence):
        bootstrap(given, **named)
