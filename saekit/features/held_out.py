"""Windows of a store's corpus: those that its examples show, and those of documents that nobody was shown.

An explanation is written from the former and judged on the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from saekit.features.part import AFTER, BEFORE
from saekit.features.windows import Window

if TYPE_CHECKING:
    from saekit.features.store import FeatureStore

TRIED = 20  # times as many random places are looked at as windows are wanted


def seen(store: FeatureStore, latent: int) -> list[Window]:
    """The windows of its examples, each once, in the order of their text."""
    rows = store.database.rows("select distinct place from examples where latent = ? order by place", [latent])
    return windows(store, latent, np.array([row["place"] for row in rows], np.int64))


def held_out(store: FeatureStore, latent: int, n: int = 50, seed: int = 0) -> tuple[list[Window], list[Window]]:
    """n windows in which it fires and n in which it does not, of documents that no example shows, none overlapping
    another; fewer where there are not so many.

    Raises ValueError for a latent of which the store keeps a sample of the firings: where it is silent is not known."""
    most = store.manifest["settings"]["most_firings"]
    if store.row(latent)["firings"] > most:
        raise ValueError(
            f"latent {latent} fires {store.row(latent)['firings']:,} times, of which the store keeps a sample of about "
            f"{most:,}: build it with most_firings={store.row(latent)['firings']:,}."
        )
    rng = np.random.default_rng([seed, latent])
    shown = {window.document for window in seen(store, latent)}
    query = "select place from activations where latent = ? order by place"
    firings = store.database.columns(query, [latent])["place"]
    activating = _apart(store, latent, rng.permutation(firings), shown, fires=True)
    places = int(store.database.rows("select max(place) as last from tokens")[0]["last"]) + 1
    anywhere = rng.choice(places, size=min(places, TRIED * n), replace=False)
    silent = _apart(store, latent, anywhere, shown, fires=False)
    return _first(activating, n), _first(silent, n)


def _apart(store: FeatureStore, latent: int, places: np.ndarray, shown: set[int], *, fires: bool) -> Iterator[Window]:
    """Windows around the places that are wanted, in that order, each of tokens that none before it had."""
    taken: set[int] = set()
    for start in range(0, len(places), 64):
        for window in windows(store, latent, places[start : start + 64]):
            if window.document in shown or window.fires != fires or not taken.isdisjoint(window.places):
                continue
            taken.update(window.places)
            yield window


def _first(found: Iterator[Window], n: int) -> list[Window]:
    return [window for window, _ in zip(found, range(n), strict=False)]


def windows(store: FeatureStore, latent: int, places: np.ndarray) -> list[Window]:
    """The tokens around each place, as far as its row goes."""
    if not len(places):
        return []
    around = np.unique(places[:, None] + np.arange(-BEFORE, AFTER + 1))
    tokens = store.database.tokens_at(around)
    query = "select place, value from activations where latent = ?"
    fired = store.database.columns(query, [latent])
    value = dict(zip(fired["place"].tolist(), fired["value"].tolist(), strict=True))
    concepts = store.database.concepts_at(tokens["place"])
    at = np.searchsorted(tokens["place"], places)
    found = []
    for place, centre in zip(places.tolist(), at.tolist(), strict=True):
        first = int(np.searchsorted(tokens["place"], place - BEFORE))
        last = int(np.searchsorted(tokens["place"], place + AFTER, side="right"))
        index = [i for i in range(first, last) if tokens["row"][i] == tokens["row"][centre]]
        own = [int(tokens["place"][i]) for i in index]
        ids = [int(tokens["token"][i]) for i in index]
        counted = tuple(bool(tokens["counted"][i]) for i in index)
        found.append(
            Window(
                places=tuple(own),
                document=int(tokens["document"][centre]),
                tokens=tuple(ids),
                texts=tuple(store.text_of(token) for token in ids),
                values=tuple(value.get(p, 0.0) for p in own),
                concepts=tuple(frozenset(concepts.get(p, ())) for p in own),
                counted=counted,
            )
        )
    return found
