"""Selecting the largest pre-activations of a whole batch (Bussmann et al. 2024, arXiv 2412.06410)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.batch_top_k import reference
from saekit_kernels.batch_top_k.reference import largest
from saekit_kernels.dispatch import path_for

__all__ = ["batch_above", "batch_top_k", "largest"]


def batch_top_k(u: Float[Tensor, "n d_sae"], wanted: int) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The `wanted` largest positive numbers of the batch, NaN first, and their flat places, ascending; no gradient."""
    if path_for(u) == "triton":
        from saekit_kernels.batch_top_k import triton

        return triton.batch_top_k(u, wanted)
    return reference.batch_top_k(u, wanted)


def batch_above(u: Float[Tensor, "n d_sae"], bound: float) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The numbers above the bound (0 or more), NaN among them, and their flat places, ascending; no gradient."""
    if path_for(u) == "triton":
        from saekit_kernels.batch_top_k import triton

        return triton.above(u, bound)
    return reference.above(u, bound)
