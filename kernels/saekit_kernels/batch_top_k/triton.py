"""The largest pre-activations of a whole batch in Triton: collect the few above a lower bound, then sort those.

The lower bound is the caller's (the threshold of the step before, a little lowered), or the `wanted`-th largest of the
maxima of groups of W neighbours: as many numbers at least are that large. Either way only numbers that reach the bound
are written down, counted first so that each block knows where it writes: in the order of the batch, without atomics.
With the maxima at hand, groups below the bound are not read again. What is left is a little more than `wanted` numbers,
and torch's own selection among those is the vendor's radix sort: no kernel here would beat it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.batch_top_k.reference import largest
from saekit_kernels.launching import check_floats, interpreted, on_device_of


@triton.jit
def positive_maxima_kernel(u, maxima, F, groups, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """The largest number of each group of WIDTH neighbours in a row, 0 where none is positive, ∞ where one is NaN."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(u + row * F + place, mask=place < F, other=0.0).to(tl.float32)
    value = tl.where(value != value, float("inf"), tl.where(value > 0.0, value, 0.0))
    group = tl.program_id(1) * (BLOCK // WIDTH) + tl.arange(0, BLOCK // WIDTH)
    largest_of_group = tl.max(tl.reshape(value, (BLOCK // WIDTH, WIDTH)), 1)
    tl.store(maxima + row * groups + group, largest_of_group, mask=group < groups)


@triton.jit
def passing(
    u,
    maxima,
    bound,
    row,
    block,
    F,
    groups,
    STRICT: tl.constexpr,
    GROUPED: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block's numbers, their places in the row, and which are positive and above the bound, or at it; NaN is above
    every bound."""
    place = block * BLOCK + tl.arange(0, BLOCK)
    least = tl.load(bound)
    read = place < F
    if GROUPED:
        read = read & (tl.load(maxima + row * groups + place // WIDTH, mask=read, other=0.0) >= least)
    value = tl.load(u + row * F + place, mask=read, other=0.0).to(tl.float32)
    size = tl.where(value != value, float("inf"), value)
    reaches = size > least if STRICT else size >= least
    return value, place, (size > 0.0) & reaches


@triton.jit
def count_kernel(
    u,
    maxima,
    bound,
    counts,
    F,
    groups,
    STRICT: tl.constexpr,
    GROUPED: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """How many numbers of a program's block pass."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    _, _, keep = passing(u, maxima, bound, row, block, F, groups, STRICT, GROUPED, WIDTH, BLOCK)
    tl.store(counts + row * tl.num_programs(1) + block, tl.sum(keep.to(tl.int32), 0))


@triton.jit
def collect_kernel(
    u,
    maxima,
    bound,
    ends,
    values,
    places,
    F,
    groups,
    STRICT: tl.constexpr,
    GROUPED: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write down the numbers of a program's block that pass, and their flat places, after those of former blocks."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    value, place, keep = passing(u, maxima, bound, row, block, F, groups, STRICT, GROUPED, WIDTH, BLOCK)
    count = tl.cumsum(keep.to(tl.int32), 0)
    slot = tl.load(ends + row * tl.num_programs(1) + block) - tl.sum(keep.to(tl.int32), 0) + count - 1
    tl.store(values + slot, value, mask=keep)
    tl.store(places + slot, row * F + place, mask=keep)


def group_width(n: int, f: int, wanted: int) -> int:
    """Neighbours in a group: as many (a power of two) as leave four groups for each wanted number."""
    return min(1 << max((n * f // (4 * wanted)).bit_length() - 1, 0), 256 if interpreted() else 1024)


def group_bound(u: Float[Tensor, "n d_sae"], wanted: int) -> tuple[Float[Tensor, "n groups"], Float[Tensor, " 1"]]:
    """Maxima [n, groups] and a bound [1] that `wanted` numbers reach, or all positive ones where there are fewer."""
    n, f = u.shape
    width, block = group_width(n, f, wanted), 256 if interpreted() else 4096
    maxima = torch.empty(n, triton.cdiv(f, width), dtype=torch.float32, device=u.device)
    with on_device_of(u):
        positive_maxima_kernel[(n, triton.cdiv(f, block))](
            u, maxima, f, maxima.shape[1], WIDTH=width, BLOCK=block, num_warps=4
        )
    if maxima.numel() < wanted:
        return maxima, torch.zeros(1, device=u.device)
    return maxima, maxima.view(-1).sort().values[-wanted].view(1)


def collected(
    u: Float[Tensor, "n d_sae"],
    bound: Float[Tensor, " 1"],
    maxima: Float[Tensor, "n groups"] | None,
    width: int,
    strict: bool,
) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The positive numbers above the bound, or at it if not `strict`, in float32, and their flat places, ascending.
    Waits for their number."""
    n, f = u.shape
    block = 256 if interpreted() else 1024
    grid = (n, triton.cdiv(f, block))
    counts = torch.empty(grid, dtype=torch.int32, device=u.device)
    groups = 1 if maxima is None else maxima.shape[1]
    settings = {"STRICT": strict, "GROUPED": maxima is not None, "WIDTH": width, "BLOCK": block, "num_warps": 4}
    read = u if maxima is None else maxima  # a pointer must be passed; without GROUPED it is not read
    with on_device_of(u):
        count_kernel[grid](u, read, bound, counts, f, groups, **settings)
        ends = counts.view(-1).cumsum(0)
        total = int(ends[-1])
        values = torch.empty(total, dtype=torch.float32, device=u.device)
        places = torch.empty(total, dtype=torch.int64, device=u.device)
        collect_kernel[grid](u, read, bound, ends, values, places, f, groups, **settings)
    return values, places


def above(u: Float[Tensor, "n d_sae"], bound: float) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The numbers above the bound (0 or more) and their flat places, as in reference.py."""
    u = _rows(u)
    if u.numel() == 0:
        return u.new_empty(0), torch.zeros(0, dtype=torch.int64, device=u.device)
    values, places = collected(u, torch.full((1,), bound, device=u.device), None, 1, True)
    return values.to(u.dtype), places


def batch_top_k(u: Float[Tensor, "n d_sae"], wanted: int) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The `wanted` largest positive numbers of the batch and their flat places, as in reference.py."""
    u = _rows(u)
    if u.numel() == 0:
        return u.new_empty(0), torch.zeros(0, dtype=torch.int64, device=u.device)
    n, f = u.shape
    maxima, bound = group_bound(u, wanted)
    values, places = largest(*collected(u, bound, maxima, group_width(n, f, wanted), False), wanted)
    return values.to(u.dtype), places


def _rows(u: Tensor) -> Tensor:
    """The same, row after row."""
    check_floats(u=u)
    return u.contiguous()
