"""Latents' gradients on a CPU: an embedding bag a latent, over the tokens in which it fires.

With the entries in the order of an index by latent, Σ_e w_e x[row(e)] is the forward pass of an embedding bag whose
table is x, a batch of tokens. No tensor of entries × d is made, and several sums share one index.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.latent_index import LatentIndex, by_latent


def weighted_rows(
    weights: Float[Tensor, " entries"],
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    x: Float[Tensor, "n d"],
    d_sae: int,
) -> Float[Tensor, "d_sae d"]:
    """Σ_e weights[e] x[row(e)] over the entries of each latent, weights in the codes' order; zeros without any."""
    index = by_latent(indices, offsets, d_sae)
    return sorted_weighted_rows(index, weights.index_select(0, index.entries), x)


def sorted_weighted_rows(
    index: LatentIndex, weights: Float[Tensor, " entries"], x: Float[Tensor, "n d"]
) -> Float[Tensor, "d_sae d"]:
    """Σ_e weights[e] x[row(e)] over the entries of each latent, weights in the index's order; zeros without any."""
    starts = index.starts.to(index.rows.dtype)
    return F.embedding_bag(
        index.rows, x, starts, mode="sum", per_sample_weights=weights.to(x.dtype), include_last_offset=True
    )


def sorted_latent_sums(index: LatentIndex, weights: Float[Tensor, " entries"]) -> Float[Tensor, " d_sae"]:
    """Σ_e weights[e] over the entries of each latent, weights in the index's order."""
    return torch.segment_reduce(weights, "sum", offsets=index.starts, initial=0, unsafe=True)
