"""Checks of 02_train_a_dictionary."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor


def check_explained_variance(explained_variance: Callable[[Tensor, Tensor], Any]) -> str:
    """Is ``explained_variance(x, x_hat)`` 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean of each dimension? Praise, or a
    diagnosis raised."""
    x = torch.tensor([[2.0, 10.0], [0.0, 18.0], [4.0, 14.0]])
    x_hat = torch.tensor([[2.0, 11.0], [1.0, 17.0], [4.0, 16.0]])
    value = explained_variance(x, x_hat)
    if value is None:
        raise AssertionError("explained_variance returned None: did you forget to return the number?")
    if not hasattr(value, "__float__") or (isinstance(value, Tensor) and value.numel() != 1):
        raise AssertionError(f"explained_variance should be one number, found {value!r}.")
    value = float(value)
    error, spread = (x - x_hat).square(), (x - x.mean(0)).square()
    right = float(1 - error.sum() / spread.sum())
    mistakes = {
        float(
            1 - error.sum() / x.square().sum()
        ): "it divides by the length of x, not by its spread: a large mean, which "
        "any constant reconstructs, then counts as understood. Subtract x̄ below the line",
        float(1 - error.sum() / (x - x.mean()).square().sum()): "x̄ is one number for all dimensions: take the mean of "
        "each dimension, x.mean(0)",
        float(
            (1 - error.sum(1) / spread.sum(1)).mean()
        ): "it is the mean of a ratio for each token: a token near the mean "
        "then decides everything. Sum first, divide once",
        float(
            (1 - error.sum(0) / spread.sum(0)).mean()
        ): "it is the mean of a ratio for each dimension: small dimensions "
        "then count as much as large ones. Sum first, divide once",
        float(error.sum() / spread.sum()): "it is the share that is *not* explained: subtract it from 1",
        float(
            1 - (x - x_hat - (x - x_hat).mean(0)).square().sum() / spread.sum()
        ): "the error's own mean is taken off: a reconstruction that is shifted by a constant would cost nothing",
    }
    if math.isclose(value, right, rel_tol=1e-5):
        return "Right: errors and spread are summed over everything, and divided once."
    for wrong, diagnosis in mistakes.items():
        if math.isclose(value, wrong, rel_tol=1e-5):
            raise AssertionError(f"{value:.3f} is not it: {diagnosis}.")
    raise AssertionError(f"for these x and x̂ it is {right:.3f}, your function says {value:.3f}.")


def check_better(better: Callable[[pd.DataFrame, float], Any]) -> str:
    """Does ``better(frontier, l0)`` name the method that explains more at this L0? Praise, or a diagnosis raised.

    frontier: a row a dictionary, columns method, l0, explained_variance; sorted by l0 within a method."""
    rows = [("old", 8, 0.60), ("old", 16, 0.70), ("old", 32, 0.80), ("old", 64, 0.90)]
    rows += [("new", 4, 0.58), ("new", 8, 0.68), ("new", 16, 0.78), ("new", 20, 0.79)]
    frontier = pd.DataFrame(rows, columns=["method", "l0", "explained_variance"])
    picked = better(frontier.copy(), 16)
    if picked is None:
        raise AssertionError("better returned None: did you forget to return the method's name?")
    if picked not in ("old", "new"):
        raise AssertionError(f"better should return the name of a method, 'old' or 'new', found {picked!r}.")
    if picked == "old":
        raise AssertionError(
            "'old' has the highest explained variance of all, but with 64 latents a token: at 16 it explains .70, "
            "'new' .78. Compare at equal L0."
        )
    crossing = pd.DataFrame(
        [("old", 10, 0.70), ("old", 20, 0.74), ("new", 1, 0.20), ("new", 19, 0.80), ("new", 40, 0.85)],
        columns=["method", "l0", "explained_variance"],
    )
    if better(crossing, 11) != "old":
        raise AssertionError(
            "at L0 11 'old' explains .70 and 'new', between .20 at 1 and .80 at 19, only .53: draw the curve between "
            "the points (np.interp), and take neither the nearest one nor a mean."
        )
    if better(crossing, 18) != "new":
        raise AssertionError(
            "at L0 18 'new' explains about .78 and 'old' about .73: which one is better changes with L0."
        )
    return "Right: two curves are compared at the same L0, between their points where there is none."
