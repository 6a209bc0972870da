"""The largest pre-activations of a whole batch in plain torch."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor


def batch_top_k(u: Float[Tensor, "n d_sae"], wanted: int) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The `wanted` largest positive numbers of the batch, and where they stand.

    Places are flat (row · d_sae + latent), int64, ascending; of equal numbers the lower places are kept. Where fewer
    are positive, all of those are kept.
    """
    return largest(*above(u, 0.0), wanted)


def above(u: Float[Tensor, "n d_sae"], bound: float) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The numbers above the bound and their flat places, ascending."""
    flat = u.reshape(-1)
    places = (flat > bound).nonzero()[:, 0]
    return flat[places], places


def largest(
    values: Float[Tensor, " found"], places: Int[Tensor, " found"], wanted: int
) -> tuple[Float[Tensor, " kept"], Int[Tensor, " kept"]]:
    """The `wanted` largest of some values, which stand in ascending places, and their places."""
    if len(values) <= wanted:
        return values, places
    least = values.topk(wanted, sorted=False).values.min()
    above, equal = values > least, values == least
    kept = above | (equal & (equal.cumsum(0) <= wanted - above.sum()))
    return values[kept], places[kept]
