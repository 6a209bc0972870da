"""Objectives: what a loss is given and gives, and its terms; pure functions that know no dictionary's class."""

from __future__ import annotations

from saekit.objectives.batch import NEEDS, Batch, Loss, RowGradient, Rows, State
from saekit.objectives.reconstruction import AUXK_WEIGHT, Coder, reconstruction_auxk, squared_error
from saekit.objectives.row_gradient import add_row_gradient
from saekit.objectives.straight_through import jump, l0_step
from saekit.objectives.terms import (
    PENALTIES,
    cross_entropy,
    divergence,
    l0_target,
    sparsity,
    squared_errors,
    warm_up,
)

__all__ = [
    "AUXK_WEIGHT",
    "NEEDS",
    "PENALTIES",
    "Batch",
    "Coder",
    "Loss",
    "RowGradient",
    "Rows",
    "State",
    "add_row_gradient",
    "cross_entropy",
    "divergence",
    "jump",
    "l0_step",
    "l0_target",
    "reconstruction_auxk",
    "sparsity",
    "squared_error",
    "squared_errors",
    "warm_up",
]


def __dir__() -> list[str]:
    return [*__all__]
