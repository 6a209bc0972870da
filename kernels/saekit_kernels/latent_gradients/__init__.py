"""Gradients of latents' rows: what each latent gathers from the tokens in which it fires.

∂W[f] = Σ_t s_tf x_t, a sum over the entries of latent f. The same sum is the decoder's gradient, with the codes for s
and the gradient of x̂ for x.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from saekit_kernels.dispatch import path_for
from saekit_kernels.latent_gradients import cpu, reference
from saekit_kernels.latent_index import by_latent
from saekit_kernels.operations import operation

__all__ = ["latent_sums", "weighted_rows"]


def latent_rows(weights: Tensor, indices: Tensor, offsets: Tensor, x: Tensor, d_sae: int) -> Tensor:
    """Σ over the entries of each latent of weight · x[row of the entry], [d_sae, d]; zero for unused latents. weights
    and indices [entries], offsets [n + 1], x [n, d]."""
    path = path_for(x)
    if path == "cpu":
        return cpu.weighted_rows(weights, indices, offsets, x, d_sae)
    index = by_latent(indices, offsets, d_sae)
    if path == "triton":
        from saekit_kernels.latent_gradients import triton

        return triton.weighted_rows(index, weights, x).to(x.dtype)
    return reference.weighted_rows(index, weights, x).to(x.dtype)


def _like_rows(weights: Tensor, indices: Tensor, offsets: Tensor, x: Tensor, d_sae: int) -> Any:
    return x.new_empty(d_sae, x.shape[1])


def latent_totals(weights: Tensor, indices: Tensor, offsets: Tensor, d_sae: int) -> Tensor:
    """Σ over the entries of each latent of its weight, [d_sae]; weights and indices [entries], offsets [n + 1]."""
    if path_for(weights) == "triton":  # on a GPU index_add adds in any order: not the same bits twice
        from saekit_kernels.latent_gradients import triton

        return triton.latent_sums(by_latent(indices, offsets, d_sae), weights).to(weights.dtype)
    return weights.new_zeros(d_sae).index_add_(0, indices.long(), weights)


def _like_totals(weights: Tensor, indices: Tensor, offsets: Tensor, d_sae: int) -> Any:
    return weights.new_empty(d_sae)


weighted_rows = operation(latent_rows, _like_rows)
latent_sums = operation(latent_totals, _like_totals)
