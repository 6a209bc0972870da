"""Top-k selection on a CPU: a lower bound from the maxima of groups, the few numbers that reach it, and k of these.

Group j of a row of F numbers is u[j], u[j + W], …, G of them (W = F / G), so that maxima are those of whole vectors.
In each of k groups there is a number that reaches the k-th largest maximum τ. The k largest are hence among the numbers
u ≥ τ of the k groups with the largest maxima: 1.1 to 1.4 k in a random row, where torch.topk moves all F about.

The selection is that of torch.topk, ties included. A row that this way cannot settle is left to it: one with NaN, one
where much reaches τ (constant rows), one where others equal the k-th largest. In 16 bits every second row is so, and
all go to torch.topk at once. Beside u no more than a quarter of it is held, and the places in that quarter.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.top_k import reference

GROUP_SIZES = (32, 16, 8)  # G
GROUPS = 4  # W for each of the k: with fewer, groups hide more of the largest; with more, more maxima must be ordered
FEW = 2**19  # numbers that torch.topk is through with before two dozen calls are made


def top_k_rows(u: Float[Tensor, "n d_sae"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row and where they stand, int32, ascending, as in reference.py."""
    n, d_sae = u.shape
    size = next((size for size in GROUP_SIZES if d_sae % size == 0 and d_sae >= size * GROUPS * k), None)
    if size is None or u.numel() < FEW or u.dtype.itemsize < 4:
        return reference.top_k_rows(u, k)
    grouped = u.unflatten(1, (size, -1))
    maxima = grouped.amax(1)
    largest, groups = maxima.topk(k, sorted=False)
    bound = largest.amin(1, keepdim=True)
    candidates = grouped.gather(2, groups[:, None].expand(n, size, k)).flatten(1)
    reach = (candidates >= bound).flatten().nonzero()[:, 0]

    starts = torch.searchsorted(reach, candidates.shape[1] * torch.arange(n + 1, device=u.device))
    counts = starts.diff()
    settled = (bound[:, 0] > -torch.inf) & (counts <= 2 * k + 16)  # no NaN is larger than −∞
    if 2 * int(settled.sum()) <= n:
        return reference.top_k_rows(u, k)
    # The numbers that reach the bound, a row each, filled up with −∞.
    slots = torch.arange(int(counts[settled].amax()), device=u.device)
    places = reach[(starts[:-1, None] + slots).clamp_max_(len(reach) - 1)]
    found = candidates.flatten()[places].masked_fill_(slots >= counts[:, None], -torch.inf)
    values, chosen = found.topk(k, sorted=False)
    # An equal of the least may be among what was found, or in a group that was not looked into.
    least = values.amin(1, keepdim=True)
    settled &= ((found >= least).sum(1) == k) & ((maxima >= least).sum(1) <= k)

    place = places.gather(1, chosen) % candidates.shape[1]
    member = torch.div(place, k, rounding_mode="floor")
    indices, order = (groups.gather(1, place % k) + maxima.shape[1] * member).int().sort(1)
    values = values.gather(1, order)
    left = (~settled).nonzero()[:, 0]
    if len(left):
        values[left], indices[left] = reference.top_k_rows(u[left], k)
    return values, indices
