"""The jump at a threshold, and gradients for it (Rajamanoharan et al. 2024, arXiv 2407.14435).

z = u · 1[u > θ] and ‖z‖₀ = Σ 1[u > θ] have no useful derivative in θ. The straight-through estimator takes that of the
expected loss, with a rectangle of width ε (in units of u) for the density of u at θ:

    ∂z/∂θ = −(θ / ε) · rect((u − θ) / ε),    ∂‖z‖₀/∂θ = −(1 / ε) · rect((u − θ) / ε),    rect(t) = 1[|t| < 1/2].

Half of it comes from entries just below the threshold, so these must be kept.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def jump(u: Float[Tensor, " entries"], threshold: Float[Tensor, " entries"], width: float) -> Float[Tensor, " entries"]:
    """z = u · 1[u > θ]; ∂z/∂u = 1[u > θ]."""
    return _Jump.apply(u, threshold, width)


def l0_step(
    u: Float[Tensor, " entries"], threshold: Float[Tensor, " entries"], width: float
) -> Float[Tensor, " entries"]:
    """1[u > θ], whose sum over a token's latents is its L0; no gradient in u."""
    return _Step.apply(u, threshold, width)


def _near(u: Tensor, threshold: Tensor, width: float) -> Tensor:
    return ((u - threshold).abs() < width / 2).to(u.dtype)


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(u, threshold)
        ctx.width = width
        return torch.where(u <= threshold, 0, u)  # NaN stays, for the loss to meet

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        u, threshold = ctx.saved_tensors
        of_threshold = g * -(threshold / ctx.width) * _near(u, threshold, ctx.width)
        return torch.where(u > threshold, g, 0), of_threshold, None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(u, threshold)
        ctx.width = width
        return (u > threshold).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor, None]:  # type: ignore[override]
        u, threshold = ctx.saved_tensors
        return None, g * -(1 / ctx.width) * _near(u, threshold, ctx.width), None
