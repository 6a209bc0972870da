"""Windows of a store's corpus: those that its examples show, and those of documents that nobody was shown.

An explanation is written from the former and judged on the latter.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from saekit.features.asking.around import around, at, firings
from saekit.features.asking.opened import OpenedStore
from saekit.features.asking.windows import Window, Windows

TRIED = 20  # times as many random places are looked at as windows are wanted


def seen(store: OpenedStore, latent: int) -> Windows:
    """The windows of its examples, each once, in the order of their text."""
    return windows(store, _shown(store, latent), firings(store, latent))


def _shown(store: OpenedStore, latent: int) -> np.ndarray:
    """The places that its examples show, ascending."""
    rows = store.database.rows("select distinct place from examples where latent = ? order by place", [latent])
    return np.array([row["place"] for row in rows], np.int64)


def held_out(store: OpenedStore, latent: int, n: int = 50, seed: int = 0) -> tuple[Windows, Windows]:
    """n windows in which it fires and n in which it does not, of documents that no example shows, none overlapping
    another; fewer where there are not so many.

    Raises ValueError for a latent of which the store keeps a sample of the firings: where it is silent is not known."""
    most = store.manifest["settings"]["most_firings"]
    if (firings_of := store.row(latent)["firings"]) > most:
        raise ValueError(
            f"latent {latent} fires {firings_of:,} times, of which the store keeps a sample of about {most:,}: build "
            f"it with most_firings={firings_of:,}."
        )
    rng = np.random.default_rng([seed, latent])
    shown = set(store.database.tokens_at(_shown(store, latent))["document"].tolist())
    fired = firings(store, latent)
    activating = _apart(store, rng.permutation(fired["place"]), fired, shown, fires=True)
    places = store.database.places
    anywhere = rng.choice(places, size=min(places, TRIED * n), replace=False)
    silent = _apart(store, anywhere, fired, shown, fires=False)
    return _first(activating, n), _first(silent, n)


def _apart(
    store: OpenedStore, places: np.ndarray, fired: dict[str, np.ndarray], shown: set[int], *, fires: bool
) -> Iterator[Window]:
    """Windows around the places that are wanted, in that order, each of tokens that none before it had."""
    taken: set[int] = set()
    for start in range(0, len(places), 64):
        for window in windows(store, places[start : start + 64], fired):
            if window.document in shown or window.fires != fires or not taken.isdisjoint(window.places):
                continue
            taken.update(window.places)
            yield window


def _first(found: Iterator[Window], n: int) -> Windows:
    return Windows(window for window, _ in zip(found, range(n), strict=False))


def windows(store: OpenedStore, places: np.ndarray, fired: dict[str, np.ndarray]) -> Windows:
    """The tokens around each place, as far as its row goes, with the values of these firings."""
    if not len(places):
        return Windows()
    tokens, centres, stretches = around(store, places)
    values = at(tokens["place"], fired)["value"]
    concepts = store.database.concepts_at(tokens["place"])
    found = Windows()
    for centre, stretch in zip(centres, stretches, strict=True):
        own, ids = tokens["place"][stretch].tolist(), tokens["token"][stretch].tolist()
        found.append(
            Window(
                places=tuple(own),
                document=int(tokens["document"][centre]),
                tokens=tuple(ids),
                texts=tuple(store.text_of(token) for token in ids),
                values=tuple(values[stretch].tolist()),
                concepts=tuple(frozenset(concepts.get(place, ())) for place in own),
                counted=tuple(tokens["counted"][stretch].tolist()),
            )
        )
    return found
