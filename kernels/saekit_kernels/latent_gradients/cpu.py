"""Latents' gradients on a CPU: an embedding bag a latent, over the tokens in which it fires.

With the entries in the order of an index by latent, Σ_e w_e x[row(e)] is the forward pass of an embedding bag whose
table is x, a batch of tokens. No tensor of entries × d is made, and several sums share one index.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.latent_index import LatentIndex, by_latent, latents_of


def weighted_rows(
    weights: Float[Tensor, " entries"],
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    x: Float[Tensor, "n d"],
    d_sae: int,
) -> Float[Tensor, "d_sae d"]:
    """Σ_e weights[e] x[row(e)] over the entries of each latent, weights in the codes' order; zeros without any."""
    index = by_latent(indices, offsets, d_sae)
    return sorted_weighted_rows(index, weights[index.entries], x)


def sorted_weighted_rows(
    index: LatentIndex, weights: Float[Tensor, " entries"], x: Float[Tensor, "n d"]
) -> Float[Tensor, "d_sae d"]:
    """Σ_e weights[e] x[row(e)] over the entries of each latent, weights in the index's order; zeros without any."""
    return F.embedding_bag(
        index.rows.long(), x, index.starts, mode="sum", per_sample_weights=weights.to(x.dtype), include_last_offset=True
    )


def sorted_latent_sums(index: LatentIndex, weights: Float[Tensor, " entries"]) -> Float[Tensor, " d_sae"]:
    """Σ_e weights[e] over the entries of each latent, weights in the index's order."""
    return weights.new_zeros(len(index.starts) - 1).index_add_(0, latents_of(index), weights)
