"""Measuring the loss effects of some latents of a store that was built, with the model at hand.

The examples, the rows they stand in and the firings there are those of the store, so that the numbers are those that
building with loss_effects="all" gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saekit.features import schema
from saekit.features.asking.database import Database
from saekit.features.asking.effects import Measured
from saekit.features.loss_effects import effects_of, mean_effects
from saekit.features.written import Written
from saekit.files.progress import Bar
from saekit.files.stopping import stopped_with
from saekit.models import together

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from saekit.features.asking.opened import OpenedStore


AT_ONCE = 32  # latents, after which what was measured is kept and progress is told


@dataclass(frozen=True)
class StoredRows:
    """The rows of the model's input around some places, as far as they are needed: see loss_effects.Rows."""

    columns: dict[str, np.ndarray]

    @classmethod
    def around(cls, database: Database, places: np.ndarray, context: int, after: int) -> StoredRows:
        """`context`: the most tokens that a row has; `after`: tokens after a place that are measured with it."""
        reach = np.arange(-context, after + 2)  # the token after the last that is shown is predicted there
        columns = database.tokens_at(np.unique(places[:, None] + reach))
        row = columns["row"]
        # Between two stretches that were asked for the places jump, and so may not the row.
        begins = np.flatnonzero(np.r_[True, (np.diff(row) != 0) | (np.diff(columns["place"]) != 1)][: len(row)])
        ends = np.r_[begins[1:], len(row)] - 1
        lengths = ends - begins + 1
        columns["row_first"] = np.repeat(columns["place"][begins], lengths)
        columns["row_last"] = np.repeat(columns["place"][ends], lengths)
        return cls(columns)

    @property
    def places(self) -> int:
        """One more than the last place that is known."""
        return int(self.columns["place"][-1]) + 1

    def take(self, name: str, places: np.ndarray) -> np.ndarray:
        """A column at some of the places that were asked for."""
        return self.columns[name][np.searchsorted(self.columns["place"], places)]


@dataclass(frozen=True)
class StoredFirings:
    """The firings that are kept of some latents, which are numbered from 0: see loss_effects.Firings."""

    latent: np.ndarray
    place: np.ndarray
    value: np.ndarray


def keep_measured(store: OpenedStore, model: TransformerBridge, latents: Sequence[int] | None) -> int:
    """Measure the loss effects of some latents, or of all that fire, and keep them; returns how many were not there.

    A keyboard interrupt keeps what was measured before."""
    settings = store.manifest["settings"]
    store.check_model(model)
    if settings.get("loss_effects") != "opened":
        return 0
    if not store.finished:
        raise ValueError(
            f"loss effects of {store.folder} are measured once it is built: call FeatureStore.build again."
        )
    if not settings["loss_examples"] or not store.manifest["editable"]:
        writes = ", ".join(store.manifest["dictionary"]["writes"])
        why = f"edits are not offered at {writes}" if settings["loss_examples"] else "it was built with loss_examples=0"
        raise ValueError(f"loss effects of {store.folder} cannot be measured: {why}.")
    chosen, query = [], "select latent from latents anti join effects using (latent) where firings > 0"
    if latents is not None:  # opening a feature must not ask for all of them
        chosen, query = [[store.number(latent) for latent in latents]], f"{query} and latent in (select unnest(?))"
    left = sorted(row["latent"] for row in store.database.rows(query, chosen))
    done = 0

    def said() -> str:
        return f"stopped; loss effects of {done:,} of {len(left):,} latents are kept, and the same call goes on."

    bar = Bar(total=len(left), desc="loss effects", unit=" latent", disable=len(left) == 1)
    with stopped_with(said), bar:
        for start in range(0, len(left), AT_ONCE):
            found = measure(store, model, left[start : start + AT_ONCE])
            store.database.effects.keep(found)
            done += len(found)
            bar.update(len(found))
    return len(left)


def measure(store: OpenedStore, model: TransformerBridge, latents: Sequence[int]) -> list[Measured]:
    """The loss effects of some latents, in the order of their numbers."""
    numbers = np.unique(np.asarray(latents, np.int64))
    most = store.manifest["settings"]["loss_examples"]
    wanted = [numbers.tolist(), list(schema.MEASURED), most]
    examples = store.database.columns(
        "select latent, place, kind = 'random' as drawn from examples "
        "where latent in (select unnest(?)) and kind in (select unnest(?)) and rank < ? order by latent, place",
        wanted,
    )
    fired = store.database.columns(
        "select latent, place, value from activations where latent in (select unnest(?)) order by latent, place",
        wanted[:1],
    )
    firings = StoredFirings(np.searchsorted(numbers, fired["latent"]), fired["place"], fired["value"])
    latent, place = np.searchsorted(numbers, examples["latent"]), examples["place"]
    effects = np.full(len(firings.place), np.nan, np.float32)
    mean, counts = np.full(len(numbers), np.nan), np.zeros(len(numbers), np.int64)
    if len(place):
        _, after = store.window
        rows = StoredRows.around(store.database, place, together(model).cfg.n_ctx, after)
        last = np.minimum(place + after, rows.take("row_last", place))
        effects = effects_of(
            together(model), Written.of(store.dictionary), numbers.tolist(), rows, firings, latent, place, last
        )
        drawn = examples["drawn"].astype(bool)
        mean, counts = mean_effects(rows, firings, effects, latent[drawn], place[drawn], len(numbers))
    found = []
    for number, latent_number in enumerate(numbers.tolist()):
        own = (firings.latent == number) & np.isfinite(effects)
        average = float(np.float32(mean[number])) if counts[number] else None
        found.append(Measured(latent_number, average, int(counts[number]), firings.place[own], effects[own]))
    return found
