"""Top-k selection on a CPU: a lower bound from the maxima of groups, the few numbers that reach it, and k of these.

Group j of a row of F numbers is u[j], u[j + W], …, G of them (W = F / G), so that maxima are those of whole vectors.
In each of k groups there is a number that reaches the k-th largest maximum τ. The k largest are hence among the numbers
u ≥ τ: 1.1 to 1.4 k in a random row, where torch.topk moves all F about. To find them and a k-th largest, NumPy's
comparison, search and partition, which torch's tensors lend their memory to, take a third of the time of torch's own.

The selection is torch.topk's. A row that this way cannot settle is left to it: one with NaN, one where much reaches τ
(constant rows), one where others equal the k-th largest. In 16 bits every second row has such equals: there those with
the lowest latents are taken, as the Triton kernel does. Beside u a byte a number is held, and eight for each that
reaches τ.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit_kernels.top_k import reference

GROUP_SIZES = (32, 16, 8)  # G
GROUPS = 4  # W for each of the k: with fewer, groups hide more of the largest; with more, more maxima must be ordered
FEW = 2**19  # numbers that torch.topk is through with before two dozen calls are made


def top_k_rows(u: Float[Tensor, "n d_sae"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row and where they stand, int32, ascending, as in reference.py."""
    n, d_sae = u.shape
    size = next((size for size in GROUP_SIZES if d_sae % size == 0 and d_sae >= size * GROUPS * k), None)
    if size is None or u.numel() < FEW:
        return reference.top_k_rows(u, k)
    u = u.contiguous()
    short = u.dtype.itemsize == 2
    bound = _kth_largest(u.unflatten(1, (size, -1)).amax(1), k)
    if short:
        bound = torch.where(bound > 0, bound, torch.nan)  # what is not above 0 has another order as an integer
    places = _reaching(u, bound.to(u.dtype))
    counts = torch.searchsorted(places, d_sae * torch.arange(n + 1)).diff()
    settled = (bound[:, 0] > -torch.inf) & (counts <= 2 * k + 16)  # no NaN is larger than −∞
    left = n - int(settled.sum())
    if 2 * left >= n:
        return reference.top_k_rows(u, k)
    if left:
        places = places[settled.repeat_interleave(counts)]
        counts = counts * settled

    found = u.view(-1)[places]
    there = torch.arange(int(counts.amax())) < counts[:, None]
    rows = found.to(bound.dtype).new_full(there.shape, -torch.inf).masked_scatter_(there, found.to(bound.dtype))
    least = _kth_largest(rows.clone(), k)
    kept = rows >= least
    if len(places) > n * k or left:
        if short:
            kept = _lowest_of_equals(rows, least, k)
        settled &= kept.sum(1) == k
        kept &= settled[:, None]
    taken = torch.from_numpy(kept.masked_select(there).numpy().nonzero()[0])
    values = found.index_select(0, taken).view(-1, k)
    indices = places.index_select(0, taken).remainder_(d_sae).int().view(-1, k)
    return (values, indices) if len(values) == n else _with_the_left(values, indices, u, settled)


def _kth_largest(rows: Float[Tensor, "n m"], k: int) -> Float[Tensor, "n 1"]:
    """Of each row, in 32 bits or more, NaN where it is among the k largest; what is given may get another order."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    rows.numpy().partition(rows.shape[1] - k, axis=1)
    return rows[:, rows.shape[1] - k :].amin(1, keepdim=True)


def _reaching(u: Float[Tensor, "n d_sae"], bound: Float[Tensor, "n 1"]) -> Int[Tensor, " found"]:
    """The places of u ≥ bound in u, row after row; in 16 bits, which NumPy has no bfloat16 of, of bounds above 0."""
    if u.dtype.itemsize == 2:
        u, bound = u.view(torch.int16), bound.view(torch.int16)
    return torch.from_numpy((u.numpy() >= bound.numpy()).ravel().nonzero()[0])


def _lowest_of_equals(rows: Float[Tensor, "n m"], least: Float[Tensor, "n 1"], k: int) -> Bool[Tensor, "n m"]:
    """The k largest of each row, of those that equal the least of them the first."""
    above, equal = rows > least, rows == least
    return above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))


def _with_the_left(
    some: Float[Tensor, "m k"], at: Int[Tensor, "m k"], u: Float[Tensor, "n d_sae"], settled: Bool[Tensor, " n"]
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """What was found in the settled rows, and what torch.topk finds in the others."""
    values, indices = some.new_empty(len(u), some.shape[1]), at.new_empty(len(u), some.shape[1])
    values[settled], indices[settled] = some, at
    values[~settled], indices[~settled] = reference.top_k_rows(u[~settled], some.shape[1])
    return values, indices
