"""Latents' gradients on a CPU: the backward pass of an embedding bag, which sorts the entries by latent and adds row by
row without a tensor of entries × d (4–20 ms where that takes 44–105, N = 2048, d = 768, d_sae = 24576, k = 32)."""

from __future__ import annotations

import torch
from torch import Tensor

from saekit_kernels.latent_gradients import reference
from saekit_kernels.latent_index import by_latent
from saekit_kernels.sparse_codes import rows_of

SUM_MODE = 0


def weighted_rows(weights: Tensor, indices: Tensor, offsets: Tensor, x: Tensor, d_sae: int) -> Tensor:
    backward = getattr(torch.ops.aten, "_embedding_bag_dense_backward", None)  # torch calls the name private
    if backward is None or not len(indices):
        return reference.weighted_rows(by_latent(indices, offsets, d_sae), weights, x).to(x.dtype)
    rows, latents = rows_of(offsets, len(indices)), indices.long()
    return backward(x, latents, rows, offsets.diff(), latents.new_empty(0), d_sae, False, SUM_MODE, weights)
