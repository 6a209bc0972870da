"""Top-k selection in plain torch."""

from __future__ import annotations

from torch import Tensor


def top_k_rows(u: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, indices = u.topk(k, dim=-1, sorted=False)
    indices, order = indices.sort(dim=-1)
    return values.gather(-1, order), indices.int()
