"""The largest pre-activations of a whole batch in plain torch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def batch_top_k(u: Float[Tensor, "n d_sae"], wanted: int) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The `wanted` largest positive numbers of the batch, and where they stand; NaN counts as the largest, as for
    torch.topk, so that it is met and not lost.

    Places are flat (row · d_sae + latent), int64, ascending; of equal numbers the lower places are kept. Where fewer
    are positive, all of those are kept.
    """
    return largest(*above(u, 0.0), wanted)


def above(u: Float[Tensor, "n d_sae"], bound: float) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The numbers above the bound, NaN among them, and their flat places, ascending."""
    flat = u.reshape(-1)
    places = (~(flat <= bound)).nonzero()[:, 0]
    return flat[places], places


def largest(
    values: Float[Tensor, " found"], places: Int[Tensor, " found"], wanted: int
) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The `wanted` largest of some values, which stand in ascending places, and their places."""
    if len(values) <= wanted:
        return values, places
    size = values.nan_to_num(torch.inf, torch.inf, -torch.inf)  # what is NaN is the largest
    least = size.topk(wanted, sorted=False).values.min()
    above, equal = size > least, size == least
    kept = above | (equal & (equal.cumsum(0) <= wanted - above.sum()))
    return values[kept], places[kept]
