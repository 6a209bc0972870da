"""What a latent is worth to the model: the loss without it minus the loss with it, through the model.

The latent is removed from every counted token of a row, h' = h − z_f d_f at each site that the dictionary writes (the
error of the dictionary stays), and the model runs on. A firing's effect is the change of the cross-entropy, in nats, of
the token that follows it. A firing at the end of a row has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from saekit.features.written import Written
from saekit.models import Change, Passed, SeveralModels, Site, forward, model_at

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS_AT_ONCE = 2**13


class Rows(Protocol):
    """The tokens of a corpus by place, and the rows of the model's input that they stand in."""

    @property
    def places(self) -> int:
        """How many there are."""

    def take(self, name: str, places: np.ndarray) -> np.ndarray:
        """ "token", or "row_first" or "row_last" (the places where its row begins and ends), at some places."""


class Firings(Protocol):
    """Firings sorted by latent, then place."""

    @property
    def latent(self) -> np.ndarray:
        """Numbered from 0 among those that are measured together."""

    @property
    def place(self) -> np.ndarray:
        """Of the token."""

    @property
    def value(self) -> np.ndarray:
        """z."""


def loss_effects(
    model: TransformerBridge,
    rows: Rows,
    firings: Firings,
    directions: Mapping[Site, Tensor],
    latent: np.ndarray,
    place: np.ndarray,
    last: np.ndarray,
    told: Callable[[int], object] = lambda examples: None,
) -> np.ndarray:
    """For each firing its effect, nan where it was not measured. Measured are the firings of `latent` in the row of
    `place` (a latent and a place an example), up to the place `last`. directions: decoder rows of these latents at each
    site that they write, by its hook."""
    effect = np.full(len(firings.place), np.nan, np.float32)
    runs = _Runs(rows, firings, latent, place, last)
    # The pass begins with the residual stream before the first site: the blocks before it run once for all latents.
    first = min(directions, key=lambda site: site.layer or 0)
    stream_site = first if first.is_residual and len(directions) == 1 else first.beside("hook_resid_pre")
    for some in runs.batches():
        firsts, of_row = np.unique(runs.first[some], return_inverse=True)
        longest = int(runs.length[some].max())
        whole = np.minimum(rows.take("row_last", firsts) - firsts + 1, longest)
        tokens = tokens_of_rows(rows, firsts, whole, longest)
        h = forward(model, tokens, stream_site).kept[stream_site]
        run, entry, column = runs.firings(some)
        target = tokens[torch.from_numpy(of_row[run]), torch.from_numpy(column + 1)]
        # The same positions with and without the latent; those of a row without it are asked for once.
        at = torch.zeros(tokens.shape, dtype=torch.bool)
        at[of_row[run], column] = True
        with_it = _losses(forward(model, tokens, replace={stream_site: h}, logits=at), tokens[:, 1:][at[:, :-1]])
        number = (at.reshape(-1).cumsum(0) - 1).view(at.shape)[of_row[run], column]
        every, all_entries, all_columns = runs.firings(some, measured=False)
        z = torch.from_numpy(firings.value[all_entries])[:, None]
        latents = torch.from_numpy(firings.latent[all_entries]).long()
        where = torch.zeros(len(some), longest, dtype=torch.bool)
        where[run, column] = True
        stream = h[torch.from_numpy(of_row).to(h.device)]
        without: dict[str, Tensor | Change] = {stream_site: stream}
        for site, own in directions.items():
            change = torch.zeros(len(some), longest, own.shape[1])
            change[every, all_columns] = -z * own[latents]
            change = change.to(h)
            without[site] = stream + change if site == stream_site else partial(_added, change=change)
        passed = forward(model, tokens[torch.from_numpy(of_row)], replace=without, logits=where)
        effect[entry] = (_losses(passed, target) - with_it[number]).numpy()
        told(int(runs.examples[some].sum()))
    return effect


def effects_of(
    model: TransformerBridge | SeveralModels,
    written: Written,
    latents: Sequence[int],
    rows: Rows,
    firings: Firings,
    latent: np.ndarray,
    place: np.ndarray,
    last: np.ndarray,
    told: Callable[[int], object] = lambda examples: None,
) -> np.ndarray:
    """``loss_effects``, of each latent in the model and at the sites where it is written. latents: what the firings'
    numbers stand for."""
    effect, numbers = np.full(len(firings.place), np.nan, np.float32), list(latents)
    home = written.home[numbers]
    for number, sites in enumerate(written.sites):
        some = home[latent] == number
        if some.any():
            own = model_at(model, sites[0])[0]
            directions = {Site(site.hook): d for site, d in written.directions(number, numbers).items()}
            found = loss_effects(own, rows, firings, directions, latent[some], place[some], last[some], told)
            effect = np.where(np.isnan(found), effect, found)
    return effect


def mean_effects(
    rows: Rows, firings: Firings, effects: np.ndarray, latent: np.ndarray, place: np.ndarray, latents: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of each latent 0 … latents − 1 the mean effect over the firings (latent, place), which were drawn at random, and
    how many were measured: the token that follows the last of a row is not known. nan where there is none."""
    width = rows.places + 1
    at = np.searchsorted(
        firings.latent.astype(np.int64) * width + firings.place, latent.astype(np.int64) * width + place
    )
    measured = np.isfinite(effects[at])
    latent, effect = latent[measured], effects[at[measured]].astype(np.float64)
    counts = np.bincount(latent, minlength=latents)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(latent, weights=effect, minlength=latents) / counts, counts


class _Runs:
    """A run is a latent in a row, as far as its examples there need. latent, first (place), length, examples."""

    def __init__(self, rows: Rows, firings: Firings, latent: np.ndarray, place: np.ndarray, last: np.ndarray) -> None:
        first, end = rows.take("row_first", place), rows.take("row_last", place)
        width = rows.places + 1
        keys, inverse = np.unique(latent.astype(np.int64) * width + first, return_inverse=True)
        stop = np.zeros(len(keys), np.int64)
        np.maximum.at(stop, inverse, np.minimum(last + 1, end))  # with the token that follows, where there is one
        self.examples = np.bincount(inverse, minlength=len(keys))
        self.first, self.length = keys % width, stop - keys % width + 1
        key = firings.latent.astype(np.int64) * width + firings.place
        begins = keys // width * width
        self.begin = np.searchsorted(key, begins + self.first)
        self.after = np.searchsorted(key, begins + stop, side="right")
        self.before_last = np.searchsorted(key, begins + stop)  # a firing at the very end has no token after it
        self.place = firings.place

    def batches(self) -> Iterator[np.ndarray]:
        """Numbers of runs: of about the same length, and those of a row together."""
        order = np.lexsort((self.first, -(-self.length // 32)))
        start = 0
        while start < len(order):
            longest = int(-(-self.length[order[start]] // 32) * 32)
            count = max(1, TOKENS_AT_ONCE // longest)
            yield order[start : start + count]
            start += count

    def firings(self, some: np.ndarray, measured: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the runs `some`: the run's number among them, the firing's number, and its position in the row."""
        sizes = (self.before_last if measured else self.after)[some] - self.begin[some]
        run = np.repeat(np.arange(len(some)), sizes)
        entry = np.repeat(self.begin[some] - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
        return run, entry, self.place[entry] - self.first[some][run]


def tokens_of_rows(rows: Rows, first: np.ndarray, lengths: np.ndarray, longest: int) -> Tensor:
    """[row, longest]: the tokens from each first place on; the last one stands for those that are missing."""
    at = first[:, None] + np.minimum(np.arange(longest)[None], lengths[:, None] - 1)
    return torch.from_numpy(rows.take("token", at.reshape(-1)).reshape(at.shape).astype(np.int64))


def _added(h: Tensor, kept: Mapping[str, Tensor], change: Tensor) -> Tensor:
    return h + change.view(h.shape)  # at some sites h comes head by head


def _losses(passed: Passed, target: Tensor) -> Tensor:
    assert passed.logits is not None  # they were asked for
    return torch.nn.functional.cross_entropy(
        passed.logits.float(), target.to(passed.logits.device), reduction="none"
    ).cpu()
