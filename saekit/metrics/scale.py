"""Shrinkage: how much smaller reconstructions are than what they stand for, E‖x̂‖² / E[x · x̂]; 1 where they are not.

An ℓ1 penalty makes every latent a little too small; the best factor by which x̂ could be multiplied is the inverse of
this number (Rajamanoharan et al. 2024, arXiv 2404.16014)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

DEFINITION = "Σ‖x̂‖² / Σ x·x̂ over counted tokens, in float64; below 1 reconstructions are too small"


class Shrinkage:
    """Streaming sums; ``value`` at any time."""

    def __init__(self) -> None:
        self.square, self.product = 0.0, 0.0

    def update(self, x: Float[Tensor, "n d"], x_hat: Float[Tensor, "n d"]) -> None:
        x, x_hat = (t.cpu() if t.device.type == "mps" else t for t in (x, x_hat))  # MPS has no float64
        self.square += float(x_hat.double().square().sum())
        self.product += float((x.double() * x_hat.double()).sum())

    @property
    def value(self) -> float:
        return self.square / self.product if self.product != 0 else float("nan")


def shrinkage(x: Float[Tensor, "*shape d"], x_hat: Float[Tensor, "*shape d"]) -> float:
    """Σ‖x̂‖² / Σ x·x̂. x̂ = x/2 gives .5. Raises ValueError for shapes that differ."""
    if x.shape != x_hat.shape:
        raise ValueError(f"x and x̂ must have one shape, found {tuple(x.shape)} and {tuple(x_hat.shape)}.")
    measure = Shrinkage()
    measure.update(torch.as_tensor(x), torch.as_tensor(x_hat))
    return measure.value
