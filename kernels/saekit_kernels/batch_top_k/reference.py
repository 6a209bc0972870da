"""The largest pre-activations of a whole batch in plain torch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def batch_threshold(
    u: Float[Tensor, "n d_sae"], wanted: int, lower_bound: float = 0.0
) -> tuple[Float[Tensor, ""], Int[Tensor, " kept"]]:
    """The `wanted` largest positive numbers of the batch: the smallest of them, and where all of them stand.

    Places are flat (row · d_sae + latent), int64, ascending; of equal numbers the lower places are kept. Where fewer
    are positive, all of those are kept. The threshold is float32, ∞ when nothing is kept. The lower bound is a guess
    that may save work and never changes the result. Raises ValueError when `wanted` is below 1.
    """
    check_wanted(wanted)
    flat = u.reshape(-1)
    places = (flat > 0).nonzero()[:, 0]
    return largest(flat[places].float(), places, wanted)


def largest(values: Tensor, places: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """The threshold and places of the `wanted` largest of some values, which stand in ascending places."""
    if len(values) == 0:
        return values.new_tensor(torch.inf), places
    if len(values) <= wanted:
        return values.min(), places
    threshold = values.sort().values[-wanted]
    above, equal = values > threshold, values == threshold
    keep = above | (equal & (equal.cumsum(0) <= wanted - above.sum()))
    return threshold, places[keep]


def check_wanted(wanted: int) -> None:
    if wanted < 1:
        raise ValueError(f"wanted must be 1 or more entries of the batch, found {wanted}.")
