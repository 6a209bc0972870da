"""Sums over each latent's firings in Triton: out[f] = Σ_e w_e x_row(e) over the entries e of latent f.

One program a latent (and a block of D); how a program sums, and what becomes of latents that fire very often, is in
triton_firings.py. The same sums with the optimiser's step in one kernel are in triton_update.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.latent_gradients.triton_firings import (
    heavy_pieces,
    piece_sums,
    sum_of_firings,
    sum_of_pieces,
    sum_of_weights,
)
from saekit_kernels.latent_gradients.triton_update import latent_update
from saekit_kernels.latent_index.reference import LatentIndex
from saekit_kernels.launching import block_width, check_floats, group_size, on_device_of

__all__ = ["latent_sums", "latent_update", "weighted_rows"]


@triton.jit
def weighted_rows_kernel(
    starts,
    entries,
    rows,
    weights,
    x,
    piece_starts,
    partials,
    out,
    D,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Σ_e w_e x_row(e) of a program's latent, a block of the row."""
    latent = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * BLOCK
    first_piece = tl.load(piece_starts + latent)
    last_piece = tl.load(piece_starts + latent + 1)
    begin = tl.load(starts + latent)
    end = tl.where(first_piece < last_piece, begin, tl.load(starts + latent + 1))  # a heavy latent's firings are summed
    total = sum_of_firings(entries, rows, weights, x, begin, end, D, start, GROUP, BLOCK)
    total += sum_of_pieces(partials, first_piece, last_piece, D, start, GROUP, BLOCK)
    d = start + tl.arange(0, BLOCK)
    tl.store(out + latent * D + d, total, mask=d < D)


@triton.jit
def latent_sums_kernel(starts, entries, weights, out, WIDE: tl.constexpr):
    """Σ_e w_e of a program's latent."""
    latent = tl.program_id(0).to(tl.int64)
    begin = tl.load(starts + latent)
    end = tl.load(starts + latent + 1)
    tl.store(out + latent, sum_of_weights(entries, weights, begin, end, WIDE))


def weighted_rows(
    index: LatentIndex, weights: Float[Tensor, " entries"], x: Float[Tensor, "n d"]
) -> Float[Tensor, "d_sae d"]:
    """Σ_e weights[e] x[row(e)] over each latent's entries, [d_sae, D] float32; zeros for a latent without any.

    Weights are in the codes' own order. Beside the result, memory for entries / 64 rows of D is taken.
    """
    check_floats(weights=weights, x=x)
    weights, x = weights.contiguous(), x.contiguous()
    latents, d = len(index.starts) - 1, x.shape[1]
    out = torch.empty(latents, d, dtype=torch.float32, device=x.device)
    pieces = heavy_pieces(index)
    partials = piece_sums(index, pieces, weights, x)
    block = block_width(d)
    with on_device_of(x):
        weighted_rows_kernel[(latents, triton.cdiv(d, block))](
            *index, weights, x, pieces.starts, partials, out, d, GROUP=group_size(), BLOCK=block, num_warps=4
        )
    return out


def latent_sums(index: LatentIndex, weights: Float[Tensor, " entries"]) -> Float[Tensor, " d_sae"]:
    """Σ_e weights[e] over each latent's entries, [d_sae] float32."""
    check_floats(weights=weights)
    latents = len(index.starts) - 1
    out = torch.empty(latents, dtype=torch.float32, device=weights.device)
    with on_device_of(weights):
        latent_sums_kernel[(latents,)](index.starts, index.entries, weights.contiguous(), out, WIDE=64, num_warps=1)
    return out
