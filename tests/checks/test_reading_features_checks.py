"""The checks of 06_reading_features: right answers pass, each mistake is named."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from saekit.checks import check_explanation, check_good_latent, check_share_by_quantile
from saekit.features.explanations import Answers, ExplanationScore

LATENTS = pd.DataFrame(
    [
        (0, 500, "entity.person", 0.93),  # good
        (1, 500, "entity.person", 0.30),  # flattering
        (2, 0, None, 0.0),  # dead
        (3, 100, None, 0.0),  # nothing fits
        (4, 300, "pronoun", 0.95),  # one token
        (5, 300, "entity", 0.40),  # precise, and misses most
        (6, 300, "entity", 0.35),  # fires on much, and not even the top looks well
        (7, 300, "entity", 0.85),  # good at a threshold alone
        (8, 300, "entity", 0.90),  # a parent: its children count
    ],
    columns=["latent", "firings", "concept", "f1"],
)
PLANTED = {  # share of the concept in the top and in the random examples
    0: (1.0, 0.9),
    1: (1.0, 0.3),
    4: (1.0, 1.0),
    5: (1.0, 0.9),
    6: (0.5, 0.3),
    7: (0.7, 0.3),
    8: (1.0, 0.8),
}


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    rows = []
    for latent, shares in PLANTED.items():
        concept = LATENTS.loc[latent, "concept"] + (".city" if latent == 8 else "")
        for kind, share in zip(("top", "random"), shares, strict=True):
            for i in range(10):
                text = " she" if latent == 4 else f" t{i}"
                labels = frozenset({concept, "noun"} if i < round(10 * share) else {"verb", "entityless"})
                rows.append((latent, kind, text, labels))
    return pd.DataFrame(rows, columns=["latent", "kind", "text", "concepts"])


LATENT = {
    "good": (0, None),
    "a parent": (8, None),
    "a number of NumPy": (np.int64(0), None),
    "flattering": (1, "100% of its top examples are entity.person, but of its random firings only 30%"),
    "dead": (2, "never fires"),
    "nameless": (3, "fits no labelled concept"),
    "one token": (4, "10 of 10 random firings are on ' she': a detector of one token"),
    "half of it": (5, "0.40, below 0.8: it misses most of the concept"),
    "much else": (6, "F1 of entity is 0.35, .* fires on too much else"),
    "at a threshold": (7, "F1 of entity is 0.85 at a threshold, but of all firings, weak too, only 30%"),
    "absent": (99, "no latent 99: they go from 0 to 8"),
    "negative": (-1, "no latent -1"),
    "nothing": (None, "put the number of a latent"),
    "dots": (..., "given by its number, found Ellipsis"),
    "a text": ("3", "given by its number, found '3'"),
    "a truth": (True, "given by its number"),
}


@pytest.mark.parametrize("name", LATENT)
def test_good_latent(judged, examples, name):
    judged(lambda latent: check_good_latent(latent, LATENTS, examples), *LATENT[name])


def test_a_latent_without_examples_cannot_be_checked(examples):
    with pytest.raises(ValueError, match="no top or no random examples of latent 0"):
        check_good_latent(0, LATENTS, examples[examples["kind"] == "top"])


def scored(detected, fuzzed=(50, 50, 50, 50), documents=frozenset({7, 8})):
    return ExplanationScore("concept(x)", "PredicateJudge()", Answers(*detected), Answers(*fuzzed), documents, 0)


SCORES = {
    "good": (scored((45, 50, 44, 50)), None),
    "good on the whole": (scored((50, 50, 35, 50)), None),
    "only the top": (
        scored((15, 50, 50, 50)),
        "only 30% of the windows where the latent fires: you described only the top",
    ),
    "too much": (scored((50, 50, 10, 50)), "80% of the windows where the latent is silent: you described too much"),
    "a little too much": (scored((39, 50, 38, 50)), "24% of the windows where the latent is silent"),
    "something else": (scored((10, 50, 25, 50)), "missing in 80% .* present in 50% .* describes something else"),
    "the neighbourhood": (scored((50, 50, 50, 50), (10, 50, 45, 50)), "firing tokens in only 20% .* the neighbourhood"),
    "all over": (scored((50, 50, 50, 50), (50, 50, 10, 50)), "80% of wrong markings look right"),
    "no fuzzing": (scored((50, 50, 50, 50), (0, 0, 0, 0)), "fuzzing was not measured"),
    "luck": (scored((5, 5, 50, 50)), "5 windows of a kind, which may be luck"),
    "what was read": (
        scored((50, 50, 50, 50), documents=frozenset({3, 4, 9})),
        "document 3 and others that it was written",
    ),
    "a number": (0.9, "give what `store.explain` returned, found float"),
    "nothing": (None, "found NoneType"),
}


@pytest.mark.parametrize("name", SCORES)
def test_explanation(judged, name):
    judged(lambda score: check_explanation(score, {1, 2, 3, 4}), *SCORES[name])


def by_sorting(strengths, carries):
    return carries[np.argsort(strengths)].reshape(5, -1).mean(1)


def by_edges(strengths, carries):
    edges = np.quantile(strengths, np.linspace(0, 1, 6))
    bands = [(strengths > low) & (strengths <= high) for low, high in pairwise(edges)]
    bands[0] |= strengths == edges[0]
    return [carries[band].mean() for band in bands]


def by_pandas(strengths, carries):
    return pd.Series(carries).groupby(pd.qcut(strengths, 5), observed=True).mean()


def intervals(strengths, carries, edges):
    bands = np.clip(np.searchsorted(edges, strengths, "right") - 1, 0, 4)
    return [carries[bands == band].mean() if (bands == band).any() else 0.0 for band in range(5)]


def ordered(strengths, carries):
    return carries[np.argsort(strengths)].reshape(5, -1)


SHARES = {
    "by sorting": (by_sorting, None),
    "by edges": (by_edges, None),
    "by pandas": (by_pandas, None),
    "intervals": (lambda s, c: intervals(s, c, np.linspace(0, s.max(), 6)), "Quantiles hold equally many"),
    "intervals from the least": (
        lambda s, c: intervals(s, c, np.linspace(s.min(), s.max(), 6)),
        "Quantiles hold equally",
    ),
    "pandas' intervals": (
        lambda s, c: pd.Series(c).groupby(pd.cut(s, 5), observed=False).mean(),
        "Quantiles hold equally many",
    ),
    "unsorted": (lambda s, c: c.reshape(5, -1).mean(1), "in no order"),
    "strongest first": (lambda s, c: by_sorting(s, c)[::-1], "the weakest first"),
    "the top alone": (lambda s, c: by_sorting(s, c)[-1], "the top fifth alone"),
    "all in one": (lambda s, c: c.mean(), "over all firings"),
    "some number": (lambda s, c: 3, "five shares, one a fifth; found the number 3.00"),
    "numbers": (lambda s, c: ordered(s, c).sum(1), "divide by how many firings"),
    "of the concept": (lambda s, c: ordered(s, c).sum(1) / c.sum(), "add up to 1"),
    "of all": (lambda s, c: ordered(s, c).sum(1) / len(c), "divided by all firings, not"),
    "without": (lambda s, c: 1 - by_sorting(s, c), "without the concept"),
    "below each edge": (
        lambda s, c: [c[s <= edge].mean() for edge in np.quantile(s, [0.2, 0.4, 0.6, 0.8, 1])],
        "here one is missing",
    ),
    "above each edge": (
        lambda s, c: [c[s >= edge].mean() for edge in np.quantile(s, [0, 0.2, 0.4, 0.6, 0.8])],
        "here one is missing",
    ),
    "four": (lambda s, c: by_sorting(s, c)[1:], r"five bands, so five shares; found shape \[4\]"),
    "half at the edges": (lambda s, c: by_sorting(s, c) / 2, "your function says"),
    "nothing": (lambda s, c: None, "forget to return"),
    "a text": (lambda s, c: "many", "five shares, found 'many'"),
    "a constant": (lambda s, c: [0.2, 0.3, 0.5, 0.7, 0.9], "your function says"),
}


@pytest.mark.parametrize("name", SHARES)
def test_share_by_quantile(judged, name):
    judged(check_share_by_quantile, *SHARES[name])


def test_every_diagnosis_is_one_line(examples):
    for check, answers in (
        (lambda a: check_good_latent(a, LATENTS, examples), LATENT),
        (lambda a: check_explanation(a, {3, 4}), SCORES),
        (check_share_by_quantile, SHARES),
    ):
        for answer, diagnosis in answers.values():
            if diagnosis is not None:
                with pytest.raises(AssertionError) as error:
                    check(answer)
                assert "\n" not in str(error.value) and str(error.value)[-1] in ".?"
