"""The k largest of each row in Triton, exactly: a lower bound, the few that pass it, and a bisection among those.

Three kernels, one program a row in the last two:
1. the largest of every group of W neighbours: one read of u at the memory's speed.
2. the k-th largest group maximum τ. At least k numbers of the row are τ or more (one in each of those k groups), so no
   number below τ can be among the k largest. Groups below τ are not read again; of the others the numbers ≥ τ are
   written down in the order of the row. With four groups or more for each of the k, random rows leave about 1.15 k.
3. the k-th largest of those, then the k entries themselves in the order of the row: ascending, no sort. Where more
   than the capacity passed (rows of equal numbers), the row itself is bisected: slow, and exact all the same.
The k-th largest is found bit by bit on integer keys in the order of the floats: k may be any number, and of equal
numbers the lower indices win. NaN counts as the largest, as in torch.topk.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.launching import check_floats, interpreted, on_device_of, power_above

LEAST: tl.constexpr = tl.constexpr(-(2**31))  # below the key of every float
COARSE: tl.constexpr = tl.constexpr(2**15)  # a lower bound needs no more than the upper bits of a key
MOST_K = 1024
MOST_GROUPS = 16_384


@triton.jit
def float_key(value):
    """int32 keys in the order of the floats (−0 = 0, NaN above ∞)."""
    value = value.to(tl.float32)
    bits = tl.where(value == 0.0, 0.0, value).to(tl.int32, bitcast=True)
    key = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return tl.where(value == value, key, 0x7FFFFFFF)


@triton.jit
def key_float(key):
    """The float32 of a key."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def kth_largest(keys, k, FINEST: tl.constexpr):
    """The k-th largest key, its bits below FINEST cleared (hence a lower bound of it); keys hold k or more."""
    bound = tl.where(tl.sum((keys >= 0).to(tl.int32), 0) >= k, 0, LEAST)
    step = tl.full((), 1 << 30, tl.int32)
    while step >= FINEST:
        enough = tl.sum((keys >= bound + step).to(tl.int32), 0) >= k
        bound = tl.where(enough, bound + step, bound)
        step = step >> 1
    return bound


@triton.jit
def row_keys(u, row, place, F):
    """Keys of u[row, place]; LEAST beyond the row."""
    inside = place < F
    return tl.where(inside, float_key(tl.load(u + row * F + place, mask=inside, other=0.0)), LEAST)


@triton.jit
def kth_largest_of_row(u, row, k, F, BLOCK: tl.constexpr):
    """kth_largest of a row that is read again for every bit."""
    bound = tl.full((), LEAST, tl.int32)
    step = tl.full((), 0, tl.int32)  # the sign first: from LEAST to 0 is a step that int32 does not hold
    going = True
    while going:
        candidate = tl.where(step == 0, 0, bound + step)
        count = tl.full((), 0, tl.int32)
        for start in range(0, F, BLOCK):
            keys = row_keys(u, row, start + tl.arange(0, BLOCK), F)
            count += tl.sum((keys >= candidate).to(tl.int32), 0)
        bound = tl.where(count >= k, candidate, bound)
        going = step != 1
        step = tl.where(step == 0, 1 << 30, step >> 1)
    return bound


@triton.jit
def group_maxima_kernel(u, maxima, F, groups, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """The largest key of each group of WIDTH neighbours in a program's part of a row."""
    row = tl.program_id(0).to(tl.int64)
    keys = row_keys(u, row, tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), F)
    group = tl.program_id(1) * (BLOCK // WIDTH) + tl.arange(0, BLOCK // WIDTH)
    largest = tl.max(tl.reshape(keys, (BLOCK // WIDTH, WIDTH)), 1)
    tl.store(maxima + row * groups + group, largest, mask=group < groups)


@triton.jit(do_not_specialize=["k"])
def collect_kernel(
    u,
    maxima,
    keys,
    places,
    counts,
    F,
    groups,
    k,
    WIDTH: tl.constexpr,
    GROUPS: tl.constexpr,
    CAPACITY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write down the keys of a program's row that reach the k-th largest maximum, and their places, as far as there is
    room; and how many they are."""
    row = tl.program_id(0).to(tl.int64)
    group = tl.arange(0, GROUPS)
    bound = kth_largest(tl.load(maxima + row * groups + group, mask=group < groups, other=LEAST), k, COARSE)
    count = tl.full((), 0, tl.int32)
    for start in range(0, F, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < F
        read = tl.load(maxima + row * groups + place // WIDTH, mask=inside, other=LEAST) >= bound
        key = float_key(tl.load(u + row * F + place, mask=inside & read, other=0.0))
        keep = inside & read & (key >= bound)
        slot = count + tl.cumsum(keep.to(tl.int32), 0) - 1
        fits = keep & (slot < CAPACITY)
        tl.store(keys + row * CAPACITY + slot, key, mask=fits)
        tl.store(places + row * CAPACITY + slot, place, mask=fits)
        count += tl.sum(keep.to(tl.int32), 0)
    tl.store(counts + row, count)


@triton.jit
def write_kept(key, place, live, bound, ties, written, values, indices, row, k):
    """Write the keys above the bound and the first `ties` of those equal to it, in order, from slot `written`."""
    equal = live & (key == bound)
    keep = (live & (key > bound)) | (equal & (tl.cumsum(equal.to(tl.int32), 0) <= ties))
    slot = written + tl.cumsum(keep.to(tl.int32), 0) - 1
    tl.store(values + row * k + slot, key_float(key).to(values.dtype.element_ty), mask=keep)
    tl.store(indices + row * k + slot, place, mask=keep)
    return tl.sum(equal.to(tl.int32), 0), tl.sum(keep.to(tl.int32), 0)


@triton.jit(do_not_specialize=["k"])
def select_kernel(u, keys, places, counts, values, indices, F, k, CAPACITY: tl.constexpr, BLOCK: tl.constexpr):
    """The k largest of a program's row from what was collected, or from the row itself where that did not fit."""
    row = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + row)
    if count <= CAPACITY:
        slot = tl.arange(0, CAPACITY)
        key = tl.load(keys + row * CAPACITY + slot, mask=slot < count, other=LEAST)
        place = tl.load(places + row * CAPACITY + slot, mask=slot < count, other=0)
        bound = kth_largest(key, k, 1)
        ties = k - tl.sum((key > bound).to(tl.int32), 0)
        write_kept(key, place, slot < count, bound, ties, 0, values, indices, row, k)
    else:
        bound = kth_largest_of_row(u, row, k, F, BLOCK)
        ties = tl.full((), 0, tl.int32) + k
        for start in range(0, F, BLOCK):
            ties -= tl.sum((row_keys(u, row, start + tl.arange(0, BLOCK), F) > bound).to(tl.int32), 0)
        written = tl.full((), 0, tl.int32)
        for start in range(0, F, BLOCK):
            place = start + tl.arange(0, BLOCK)
            key = row_keys(u, row, place, F)
            equal, kept = write_kept(key, place, place < F, bound, ties, written, values, indices, row, k)
            ties -= equal
            written += kept


def row_block() -> int:
    """Neighbours in a row that a program handles at a time when it must number them (more would cost registers)."""
    return 256 if interpreted() else 1024


def maxima_block() -> int:
    """Neighbours in a row of which one program takes the group maxima."""
    return 256 if interpreted() else 4096


def group_width(f: int, k: int) -> int:
    """Neighbours in a group: as many (a power of two) as leave four groups for each of the k, and 1,024 in all."""
    groups = max(4 * k, 64 if interpreted() else 1024)
    return min(1 << max((f // groups).bit_length() - 1, 0), maxima_block())


def candidates(
    u: Float[Tensor, "n d_sae"], k: int
) -> tuple[Int[Tensor, "n capacity"], Int[Tensor, "n capacity"], Int[Tensor, " n"]]:
    """Keys [n, capacity] and places of the numbers that pass each row's lower bound, and how many passed [n].

    A count above the capacity says that the row's candidates did not all fit.
    """
    n, f = u.shape
    block = maxima_block()
    width = group_width(f, k)
    groups = triton.cdiv(f, width)
    capacity = max(power_above(2 * k), 16 if interpreted() else 128)
    maxima = torch.empty(n, groups, dtype=torch.int32, device=u.device)
    keys = torch.empty(n, capacity, dtype=torch.int32, device=u.device)
    places = torch.empty(n, capacity, dtype=torch.int32, device=u.device)
    counts = torch.empty(n, dtype=torch.int32, device=u.device)
    with on_device_of(u):
        group_maxima_kernel[(n, triton.cdiv(f, block))](u, maxima, f, groups, WIDTH=width, BLOCK=block, num_warps=4)
        collect_kernel[(n,)](
            u,
            maxima,
            keys,
            places,
            counts,
            f,
            groups,
            k,
            WIDTH=width,
            GROUPS=power_above(groups),
            CAPACITY=capacity,
            BLOCK=row_block(),
            num_warps=4 if groups <= 4096 else 8,
        )
    return keys, places, counts


def top_k_rows(u: Float[Tensor, "n d_sae"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row, (values [n, k], indices [n, k] int32 ascending); ties go to the lower index. No ReLU.

    The kernels serve k ≤ 1,024 and up to 16,384 groups (67 million latents); beyond, torch sorts the rows.
    """
    check_floats(u=u)
    u = u.contiguous()
    n, f = u.shape
    if not 1 <= k <= f:
        raise ValueError(f"k must be between 1 and the {f} latents there are, found {k}.")
    if k > MOST_K or triton.cdiv(f, group_width(f, k)) > MOST_GROUPS:
        return top_k_sorted(u, k)
    values = torch.empty(n, k, dtype=u.dtype, device=u.device)
    indices = torch.empty(n, k, dtype=torch.int32, device=u.device)
    if n:
        keys, places, counts = candidates(u, k)
        with on_device_of(u):
            select_kernel[(n,)](
                u,
                keys,
                places,
                counts,
                values,
                indices,
                f,
                k,
                CAPACITY=keys.shape[1],
                BLOCK=row_block(),
                num_warps=4,
            )
    return values, indices


def top_k_sorted(u: Float[Tensor, "n d_sae"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The same by a stable sort of whole rows, for what the kernels do not serve (torch.topk leaves ties open)."""
    indices = torch.sort(u, dim=1, descending=True, stable=True).indices[:, :k].sort(dim=1).values
    return u.gather(1, indices), indices.int()
