"""Latents' gradients in plain torch: one row of x an entry, added up by latent."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_rows(weights: Tensor, indices: Tensor, offsets: Tensor, x: Tensor, d_sae: int) -> Tensor:
    rows = torch.repeat_interleave(offsets.diff(), output_size=len(indices))
    return x.new_zeros(d_sae, x.shape[1]).index_add_(0, indices.long(), weights[:, None] * x[rows])
