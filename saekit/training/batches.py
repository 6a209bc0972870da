"""What a stream gives, as the batch that a loss gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from saekit.activations.shuffled import GRADIENT, LABELS
from saekit.activations.stream import ROWS
from saekit.dictionaries import Wiring
from saekit.engines.threads import working_with
from saekit.objectives import Batch, Rows


def as_batch(taken: Mapping[str, Tensor], wiring: Wiring, like: Tensor, models: Mapping[str, Any] | None) -> Batch:
    """like: on its device, in its precision."""

    def at(sites: tuple[str, ...], before: str = "") -> dict[str, Tensor]:
        found = {site: taken[before + site].to(like.device, like.dtype) for site in sites}
        if not wiring.each:
            return found
        return {sites[0]: torch.cat(list(found.values()))}  # the tokens of every site are rows of one

    reads = at(wiring.reads)
    writes = reads if wiring.same else at(wiring.writes)
    repeats = len(wiring.reads) if wiring.each else 1
    rows = None
    if ROWS[0] in taken:
        rows = Rows(*[taken[name].to(like.device).repeat(repeats, 1) for name in ROWS])
    labels = taken.get(LABELS)
    if labels is not None:
        labels = labels.to(like).repeat(repeats, *[1] * (labels.ndim - 1))
    gradients = at(wiring.reads, GRADIENT) if any(name.startswith(GRADIENT) for name in taken) else None
    return Batch(reads, writes, rows, gradients, labels, models)


def joined_batches(taken: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Several batches of a stream as one; rows of texts as long as the longest, padded on the right."""
    if ROWS[0] in taken[0]:
        longest = max(each[ROWS[0]].shape[1] for each in taken)
        taken = [{name: _padded(x, longest) for name, x in each.items()} for each in taken]
    return {name: torch.cat([each[name] for each in taken]) for name in taken[0]}


def _padded(x: Tensor, length: int) -> Tensor:
    return torch.cat([x, x.new_zeros(len(x), length - x.shape[1], *x.shape[2:])], dim=1)


def first_scales(batch: Batch, wiring: Wiring) -> dict[str, float]:
    """The root mean square a dimension of each site's activations around their mean; 1 where they are constant.

    Raises ValueError where all that is read is constant: there is nothing to learn."""
    batch = batch.flat()
    if all(len(x) > 1 and constant(x) for x in batch.reads.values()):
        read = ", ".join(map(repr, map(str, batch.reads)))
        alike = "the same" if any(bool(x.any()) for x in batch.reads.values()) else "0"
        raise ValueError(f"activations do not vary: all of the first batch at {read} are {alike}.")
    found = {site: _scale(x) for site, x in (dict(batch.reads) | dict(batch.writes)).items()}
    return dict.fromkeys(wiring.sites, next(iter(found.values()))) if wiring.each else found


def constant(x: Tensor) -> bool:
    """Whether all rows are the same, in which case their differences from the mean are rounding."""
    return bool((x == x[:1]).all())


def _scale(x: Tensor) -> float:
    if constant(x):
        return 1.0
    with working_with(1):  # several would add up in another order
        return float((x - x.mean(0)).square().mean().sqrt()) or 1.0
