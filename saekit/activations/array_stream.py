"""ArrayStream: batches of arrays of one's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Num, Shaped
from torch import Tensor

from saekit.activations.arrays import as_array
from saekit.activations.chunk import place_of, to_device
from saekit.activations.finite import check_finite
from saekit.activations.outliers import AT_ONCE, norms, usual
from saekit.activations.shuffled import LABELS, Batch, StreamState, check_batch_size


class ArrayStream:
    """Batches of an array [n, d] (see arrays), or of several with the same rows by site; every pass in a new seeded
    order; what is left joins the next. ``left_out`` rows are of a norm above ``max_norm_multiple`` times the median
    (see outliers). An array stays where it is, in its own precision, but for one that fits on the GPU that trains.

    x:       the arrays. batch_size: rows a batch. seed: of the order. state: where another one of it stood.
    labels:  [n, concepts], a column more.
    made_on: the model, its hash and the corpus, where the activations are known to be theirs.
    device:  the one that trains.
    """

    models: Mapping[str, Any] | None = None

    def __init__(
        self,
        x: Num[Tensor, "n d"] | Mapping[str, Num[Tensor, "n d"]],
        batch_size: int,
        seed: int = 0,
        state: StreamState | None = None,
        labels: Shaped[Tensor, "n ..."] | Shaped[np.ndarray, "n ..."] | None = None,
        max_norm_multiple: float | None = None,
        made_on: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.arrays = {site: as_array(a, site) for site, a in (x if isinstance(x, Mapping) else {"x": x}).items()}
        if not self.arrays:
            raise ValueError("activations of one's own are at least one array, found an empty mapping.")
        for site, array in self.arrays.items():
            if array.ndim != 2 or not len(array):
                named = "" if site == "x" else f" at {site!r}"
                found = tuple(array.shape)
                flat = " (x.flatten(0, -2) makes rows of it)" if array.ndim > 2 else ""
                raise ValueError(f"activations of one's own are [n, d] with n ≥ 1, found shape {found}{named}{flat}.")
        self.sites, (first, *others) = tuple(self.arrays), self.arrays
        for site in others:
            if len(self.arrays[site]) != len(self):
                raise ValueError(f"there are {len(self)} rows of {first!r} and {len(self.arrays[site])} of {site!r}.")
        self.batch_size = check_batch_size(batch_size)
        self.device = torch.device(device)
        self._bring()
        sizes = {site: self._norms(site) for site in self.arrays}
        stay = usual(sizes, max_norm_multiple)
        self.kept = None if stay is None else stay.nonzero()[:, 0]  # rows that are not left out
        self.left_out = 0 if self.kept is None else len(self) - len(self.kept)
        self.max_norm_multiple, self.made_on = max_norm_multiple, made_on
        self.labels = None if labels is None else _columns(labels, len(self))
        self.seed = seed
        self.widths = {site: array.shape[1] for site, array in self.arrays.items()}
        self.state = state or StreamState()

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def provenance(self) -> dict[str, Any]:
        """Of the model that they are of, where that is known; else no model and no hash."""
        return {"model": None, "model_hash": None, "processing": "none"} | dict(self.made_on or {})

    def anew(self) -> ArrayStream:
        """The same stream at its beginning."""
        again = copy.copy(self)
        again.state = StreamState()
        return again

    def _bring(self) -> None:
        """Arrays that fit go to the GPU that trains; those of another device stay there."""
        size = sum(array.numel() * array.element_size() for array in self.arrays.values() if not array.is_cuda)
        if (place := place_of(size, self.device)).type == "cuda":
            self.arrays = {site: array.to(place) for site, array in self.arrays.items()}

    def _norms(self, site: str) -> Tensor:
        """‖x‖ of each row. Raises ValueError for NaN and infinite activations; one pass over the array tells both."""
        found = norms(array := self.arrays[site])
        if not bool(torch.isfinite(found).all()):  # finite numbers may have a norm that is too large to be one
            for start in range(0, len(array), AT_ONCE):
                check_finite(array[start : start + AT_ONCE], site, start // self.batch_size)
        return found

    def __iter__(self) -> Iterator[Batch]:
        n = len(self) - self.left_out
        columns = self.arrays if self.labels is None else self.arrays | {LABELS: self.labels}
        orders: dict[int, Tensor] = {}
        while True:
            start = self.state.batches * self.batch_size
            end = start + self.batch_size
            readings = range(start // n, (end - 1) // n + 1)
            orders = {reading: orders[reading] if reading in orders else self._order(reading) for reading in readings}
            rows = torch.cat([orders[r][max(0, start - r * n) : min(n, end - r * n)] for r in readings])
            self.state = StreamState(batches=self.state.batches + 1)
            taken = {name: array.index_select(0, rows.to(array.device)) for name, array in columns.items()}
            yield {name: to_device(x, self.device).float() for name, x in taken.items()}

    def _order(self, reading: int) -> Tensor:
        """The rows of a pass, where the arrays lie."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + reading)
        order = torch.randperm(len(self) - self.left_out, generator=generator)
        order = order.to(next(iter(self.arrays.values())).device)
        return order if self.kept is None else self.kept[order]


def _columns(labels: Any, n: int) -> Tensor:
    if isinstance(labels, str) or (isinstance(labels, Sequence) and any(isinstance(name, str) for name in labels)):
        raise ValueError(f"labels of {n} rows are an array [{n}, concepts], found {labels!r}.")
    labels = as_array(labels, "labels")
    labels = labels[:, None] if labels.ndim == 1 else labels
    if labels.ndim != 2 or len(labels) != n:
        raise ValueError(f"labels of {n} rows are [{n}, concepts], found shape {tuple(labels.shape)}.")
    return labels.float()
