"""Top-k selection in plain torch."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor


def top_k_rows(u: Float[Tensor, "n d_sae"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The k largest of each row and where they stand, int32, ascending; of equals those that torch.topk takes."""
    values, indices = u.topk(k, dim=-1, sorted=False)
    indices, order = indices.sort(dim=-1)
    return values.gather(-1, order), indices.int()
