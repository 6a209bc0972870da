"""Shrinkage: how much smaller reconstructions are than what they stand for, E‖x̂‖² / E[x · x̂]; 1 where they are not.

An ℓ1 penalty makes every latent a little too small; the best factor by which x̂ could be multiplied is the inverse of
this number (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.dictionaries.coded import Coded
from saekit.metrics.metric import Metric, Number

DEFINITION = "Σ‖x̂‖² / Σ x·x̂ over counted tokens, in float64; below 1 reconstructions are too small"


class Shrinkage(Metric):
    """Streaming sums; ``value`` at any time."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.square, self.product = 0.0, 0.0

    def add(self, x: Float[Tensor, "*shape d"], x_hat: Float[Tensor, "*shape d"]) -> None:
        """Some more tokens and their reconstruction."""
        x, x_hat = (t.cpu() if t.device.type == "mps" else t for t in (x, x_hat))  # MPS has no float64
        self.square += float(x_hat.double().square().sum())
        self.product += float((x.double() * x_hat.double()).sum())

    def update(self, batch: Coded) -> None:
        """The target and its reconstruction."""
        self.add(batch.target, batch.x_hat)

    def result(self) -> Number:
        """1 where reconstructions have the right size."""
        return Number("shrinkage", self.value, DEFINITION, beside="1: of the right size; below: too small")

    @property
    def value(self) -> float:
        """NaN where x̂ is 0, or at right angles to x."""
        return self.square / self.product if self.product != 0 else float("nan")


def shrinkage(x: Float[Tensor, "*shape d"], x_hat: Float[Tensor, "*shape d"]) -> float:
    """Σ‖x̂‖² / Σ x·x̂. x̂ = x/2 gives .5. Raises ValueError for shapes that differ.

    x, x_hat: what was encoded, and its reconstruction."""
    if x.shape != x_hat.shape:
        raise ValueError(f"x and x̂ must have one shape, found {tuple(x.shape)} and {tuple(x_hat.shape)}.")
    measure = Shrinkage()
    measure.add(torch.as_tensor(x), torch.as_tensor(x_hat))
    return measure.value
