"""The checks of 02_train_a_dictionary: right answers pass, each mistake is named."""

from __future__ import annotations

import numpy as np
import pytest

from saekit.checks import check_better, check_explained_variance


def ratio(error, spread):
    return 1 - error.sum() / spread.sum()


VARIANCES = {
    "right": (lambda x, y: ratio((x - y) ** 2, (x - x.mean(0)) ** 2), None),
    "length": (lambda x, y: ratio((x - y) ** 2, x**2), "divides by the length of x"),
    "one mean": (lambda x, y: ratio((x - y) ** 2, (x - x.mean()) ** 2), "one number for all dimensions"),
    "by token": (
        lambda x, y: (1 - ((x - y) ** 2).sum(1) / ((x - x.mean(0)) ** 2).sum(1)).mean(),
        "a ratio for each token",
    ),
    "by dimension": (
        lambda x, y: (1 - ((x - y) ** 2).sum(0) / ((x - x.mean(0)) ** 2).sum(0)).mean(),
        "a ratio for each dimension",
    ),
    "unexplained": (lambda x, y: 1 - ratio((x - y) ** 2, (x - x.mean(0)) ** 2), "the share that is"),
    "shifted": (
        lambda x, y: ratio((x - y - (x - y).mean(0)) ** 2, (x - x.mean(0)) ** 2),
        "the error's own mean is taken off",
    ),
    "nothing": (lambda x, y: None, "forget to return"),
    "a vector": (lambda x, y: (x - y).sum(1), "one number"),
    "something": (lambda x, y: 0.123, "your function says 0.123"),
}


@pytest.mark.parametrize("name", VARIANCES)
def test_explained_variance(judged, name):
    judged(check_explained_variance, *VARIANCES[name])


def at(frontier, l0):
    return {m: np.interp(l0, g["l0"], g["explained_variance"]) for m, g in frontier.groupby("method")}


def nearest(frontier, l0):
    frontier = frontier.assign(gap=(frontier["l0"] - l0).abs()).sort_values("gap")
    firsts = frontier.drop_duplicates("method")
    return firsts.loc[firsts["explained_variance"].idxmax(), "method"]


CHOICES = {
    "right": (lambda f, l0: max(at(f, l0), key=at(f, l0).get), None),
    "the highest": (lambda f, l0: f.loc[f["explained_variance"].idxmax(), "method"], "Compare at equal L0"),
    "the mean": (lambda f, l0: f.groupby("method")["explained_variance"].mean().idxmax(), "Compare at equal L0"),
    "always new": (lambda f, l0: "new", "draw the curve between the points"),
    "always the crossing's first": (lambda f, l0: "old" if f["l0"].max() == 40 else "new", "changes with L0"),
    "the nearest point": (nearest, "draw the curve between the points"),
    "nothing": (lambda f, l0: None, "forget to return"),
    "a number": (lambda f, l0: 3, "the name of a method"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_better(judged, name):
    judged(check_better, *CHOICES[name])
