"""Exact top-k selection of pre-activations (Gao et al. 2024, arXiv 2406.04093): z = ReLU(top-k of u)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.dispatch import path_for
from saekit_kernels.sparse_codes import SparseCodes
from saekit_kernels.top_k import cpu, reference

__all__ = ["top_k", "top_k_rows"]


def top_k(pre_activations: Float[Tensor, "*shape d_sae"], k: int) -> SparseCodes:
    """Keep the k largest pre-activations of each row, after a ReLU.

    A row with fewer than k positive values keeps k entries, the rest stored zeros. Gradients reach the kept entries.
    Raises ValueError when k is not in 1 … d_sae.
    """
    d_sae, shape = pre_activations.shape[-1], tuple(pre_activations.shape[:-1])
    if not 1 <= k <= d_sae:
        raise ValueError(f"k must be between 1 and the {d_sae} latents there are, found {k}.")
    flat = pre_activations.reshape(-1, d_sae)
    indices = top_k_rows(flat.detach(), k)[1]
    values = flat.gather(1, indices.long()).relu()
    return SparseCodes.from_sorted(values.view(*shape, k), indices.view(*shape, k), d_sae)


def top_k_rows(
    pre_activations: Float[Tensor, "rows d_sae"], k: int
) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """The k largest of each row and where they stand, int32, ascending; no ReLU, no gradient."""
    path = path_for(pre_activations)
    if path == "triton":
        from saekit_kernels.top_k import triton

        return triton.top_k_rows(pre_activations, k)
    return (cpu if path == "cpu" else reference).top_k_rows(pre_activations, k)
