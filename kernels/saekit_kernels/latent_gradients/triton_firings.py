"""The firings of one latent, summed by one program; a latent that fires very often is summed in pieces.

Σ_e w_e x_row(e) over the sorted entries e of a latent is a gather of rows of x: no [entries, D] tensor, no atomics. A
latent that fires in every token would keep one program busy long after the others, so a latent of more than SEGMENT
firings is cut into pieces of SEGMENT, summed by a kernel of their own into float32 partials, and its program adds
those. How many pieces there are is known on the device alone; memory and programs are sized by the most there can be,
since waiting for the number would stall the queue. The order of every sum is fixed by the sorted index.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.latent_index.reference import LatentIndex
from saekit_kernels.launching import block_width, group_size, on_device_of

SEGMENT = 128  # firings; a latent of more is heavy


class Pieces(NamedTuple):
    """Pieces of SEGMENT firings of the heavy latents: latent f owns starts[f] : starts[f + 1]; others own none."""

    starts: Int[Tensor, " latents_and_one"]
    most: int  # no more than this many pieces, whatever the index holds


def heavy_pieces(index: LatentIndex) -> Pieces:
    """A latent of c > SEGMENT firings has ⌈c / SEGMENT⌉ ≤ 2c / (SEGMENT + 1) pieces, hence the bound."""
    firings = index.starts.diff()
    pieces = torch.where(firings > SEGMENT, (firings + SEGMENT - 1) // SEGMENT, 0)
    starts = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
    return Pieces(starts, 2 * len(index.entries) // (SEGMENT + 1))


@triton.jit
def owner(starts, n, position):
    """The f with starts[f] ≤ position < starts[f + 1], by bisection."""
    low = position * 0
    high = low + n
    while high - low > 1:
        middle = (low + high) // 2
        if tl.load(starts + middle) <= position:
            low = middle
        else:
            high = middle
    return low


@triton.jit
def sum_of_firings(entries, rows, weights, x, begin, end, D, start, GROUP: tl.constexpr, BLOCK: tl.constexpr):
    """Σ w_e x_row(e) over the sorted positions begin … end − 1, numbers start … start + BLOCK − 1 of the rows."""
    lane = tl.arange(0, GROUP)
    d = start + tl.arange(0, BLOCK)
    total = tl.zeros((GROUP, BLOCK), tl.float32)
    position = begin
    while position < end:
        live = position + lane < end
        entry = tl.load(entries + position + lane, mask=live, other=0)
        row = tl.load(rows + position + lane, mask=live, other=0).to(tl.int64)
        weight = tl.load(weights + entry, mask=live, other=0.0).to(tl.float32)
        numbers = tl.load(x + row[:, None] * D + d[None, :], mask=live[:, None] & (d < D)[None, :], other=0.0)
        total += weight[:, None] * numbers.to(tl.float32)
        position += GROUP
    return tl.sum(total, 0)


@triton.jit
def sum_of_pieces(partials, begin, end, D, start, GROUP: tl.constexpr, BLOCK: tl.constexpr):
    """Σ partials[p] over the pieces begin … end − 1."""
    lane = tl.arange(0, GROUP)
    d = start + tl.arange(0, BLOCK)
    total = tl.zeros((GROUP, BLOCK), tl.float32)
    piece = begin
    while piece < end:
        live = (piece + lane < end)[:, None] & (d < D)[None, :]
        total += tl.load(partials + (piece + lane)[:, None] * D + d[None, :], mask=live, other=0.0)
        piece += GROUP
    return tl.sum(total, 0)


@triton.jit
def sum_of_weights(entries, weights, begin, end, WIDE: tl.constexpr):
    """Σ w_e over the sorted positions begin … end − 1."""
    lane = tl.arange(0, WIDE)
    total = tl.zeros((WIDE,), tl.float32)
    position = begin
    while position < end:
        live = position + lane < end
        entry = tl.load(entries + position + lane, mask=live, other=0)
        total += tl.load(weights + entry, mask=live, other=0.0).to(tl.float32)
        position += WIDE
    return tl.sum(total, 0)


@triton.jit(do_not_specialize=["latents"])
def partials_kernel(
    starts,
    entries,
    rows,
    weights,
    x,
    piece_starts,
    partials,
    latents,
    D,
    SEGMENT: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The sum of a program's piece, a block of the row."""
    piece = tl.program_id(0).to(tl.int64)
    if piece < tl.load(piece_starts + latents):
        latent = owner(piece_starts, latents, piece)
        begin = tl.load(starts + latent) + (piece - tl.load(piece_starts + latent)) * SEGMENT
        end = tl.minimum(begin + SEGMENT, tl.load(starts + latent + 1))
        start = tl.program_id(1) * BLOCK
        total = sum_of_firings(entries, rows, weights, x, begin, end, D, start, GROUP, BLOCK)
        d = start + tl.arange(0, BLOCK)
        tl.store(partials + piece * D + d, total, mask=d < D)


def piece_sums(
    index: LatentIndex, pieces: Pieces, weights: Float[Tensor, " entries"], x: Float[Tensor, "n d"]
) -> Float[Tensor, "most d"]:
    """Σ w_e x_row(e) over each piece, [pieces.most, D] float32; what lies beyond the last piece is not written."""
    d = x.shape[1]
    partials = torch.empty(pieces.most, d, dtype=torch.float32, device=x.device)
    if len(index.entries) > SEGMENT:  # otherwise no latent can be heavy
        block = block_width(d)
        with on_device_of(x):
            partials_kernel[(pieces.most, triton.cdiv(d, block))](
                *index,
                weights,
                x,
                pieces.starts,
                partials,
                len(index.starts) - 1,
                d,
                SEGMENT=SEGMENT,
                GROUP=group_size(),
                BLOCK=block,
                num_warps=4,
            )
    return partials
