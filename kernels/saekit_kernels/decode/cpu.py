"""The gradient of codes on a CPU: ⟨g_t, d_e⟩ for each entry, as an embedding bag's backward pass computes it.

Latent after latent: each direction is read once, and the rows that are read here and there are those of g, a batch of
tokens, which is small beside the decoder.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.latent_index import LatentIndex, by_latent, latents_of

SUM_MODE = 0


def value_gradients(
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    directions: Float[Tensor, "d_sae d"],
    gradient: Float[Tensor, "n d"],
) -> Float[Tensor, " entries"]:
    """⟨g[row(e)], d_e⟩ of each entry, in the codes' order."""
    index = by_latent(indices, offsets, len(directions))
    products = sorted_value_gradients(index, directions, gradient)
    return torch.empty_like(products).index_copy_(0, index.entries, products)


def sorted_value_gradients(
    index: LatentIndex, directions: Float[Tensor, "d_sae d"], gradient: Float[Tensor, "n d"]
) -> Float[Tensor, " entries"]:
    """⟨g[row(e)], d_e⟩ of each entry, in the order of the index."""
    backward = getattr(torch.ops.aten, "_embedding_bag_per_sample_weights_backward", None)  # torch calls it private
    latents = latents_of(index)
    if backward is None or not len(latents):
        return (directions[latents] * gradient[index.rows]).sum(1)
    # As of bags that are latents: the directions stand where that pass has its gradient, g where it has its table.
    starts, latents = index.starts[:-1].to(index.rows.dtype), latents.to(index.rows.dtype)
    return backward(directions, gradient, index.rows, starts, latents, SUM_MODE)
