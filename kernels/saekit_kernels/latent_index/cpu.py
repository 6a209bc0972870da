"""The index by latent on a CPU: NumPy's stable sort (a radix sort where 16 bits do), and a count a latent."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from saekit_kernels.latent_index.reference import LatentIndex
from saekit_kernels.sparse_codes import rows_of

SHORT = 2**15
"""Latents whose numbers fit into 16 bits."""


def by_latent(indices: Int[Tensor, " entries"], offsets: Int[Tensor, " rows_and_one"], d_sae: int) -> LatentIndex:
    """As reference.by_latent. Raises IndexError for a latent that is not in 0 … d_sae − 1."""
    counts = torch.bincount(indices, minlength=d_sae)
    if len(counts) > d_sae:
        raise IndexError(f"latent {len(counts) - 1} is not in 0 … {d_sae - 1}.")
    if d_sae <= SHORT:
        entries = torch.from_numpy(indices.short().numpy().argsort(kind="stable"))
    else:
        entries = torch.sort(indices, stable=True).indices
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return LatentIndex(starts, entries, rows_of(offsets, len(indices)).int().index_select(0, entries))
