"""The index by latent in plain torch: a stable sort of the entries, and where each latent begins in it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor


class LatentIndex(NamedTuple):
    """Latent f owns the positions starts[f] : starts[f + 1] of `entries` and `rows`, rows ascending.

    starts:  [d_sae + 1] int64.
    entries: [E] int64, the number of each entry in the codes' own order.
    rows:    [E] int32, the row (token) of each of those entries.
    """

    starts: Int[Tensor, " latents_and_one"]
    entries: Int[Tensor, " entries"]
    rows: Int[Tensor, " entries"]


def by_latent(indices: Int[Tensor, " entries"], offsets: Int[Tensor, " rows_and_one"], d_sae: int) -> LatentIndex:
    """Sort the entries by latent. Stable, so the index is the same every time; nothing is read back to the host."""
    sorted_latents, entries = torch.sort(indices, stable=True)
    latents = torch.arange(d_sae + 1, dtype=sorted_latents.dtype, device=indices.device)
    starts = torch.searchsorted(sorted_latents, latents)
    rows = torch.searchsorted(offsets, entries, right=True, out_int32=True) - 1
    return LatentIndex(starts, entries, rows)


def latents_of(index: LatentIndex) -> Int[Tensor, " entries"]:
    """The latent of each sorted entry, int64."""
    latents = torch.arange(len(index.starts) - 1, device=index.starts.device)
    return torch.repeat_interleave(latents, index.starts.diff(), output_size=len(index.entries))
