"""Top-k selection on a CPU, in two steps where rows are long: the k groups of latents with the largest maxima hold the
k largest values, since each of these groups has one that is at least as large as any value outside them."""

from __future__ import annotations

import torch
from torch import Tensor

from saekit_kernels.top_k import reference

GROUP = 64


def top_k_rows(u: Tensor, k: int) -> tuple[Tensor, Tensor]:
    n, d_sae = u.shape
    if d_sae < 4 * GROUP * k or d_sae % GROUP or not u.is_contiguous():
        return reference.top_k_rows(u, k)
    groups = d_sae // GROUP
    grouped = u.view(n, groups, GROUP)
    largest = grouped.amax(-1).topk(k, sorted=False).indices.sort().values
    rows = (largest + groups * torch.arange(n, device=u.device)[:, None]).view(-1)
    candidates = u.view(n * groups, GROUP).index_select(0, rows).view(n, k * GROUP)
    values, places = reference.top_k_rows(candidates, k)
    indices = largest.gather(1, places.long() // GROUP) * GROUP + places % GROUP
    return values, indices.int()
