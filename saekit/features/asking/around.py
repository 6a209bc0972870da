"""The tokens around places of a store's corpus, and what a latent does on them."""

from __future__ import annotations

import numpy as np

from saekit.features.asking.opened import OpenedStore

SILENT = {"value": 0.0, "logit_effect": np.nan, "loss_effect": np.nan}


def around(store: OpenedStore, places: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, list[slice]]:
    """The rows of tokens that are needed, ascending; the index of each place among them; the stretch around it, as far
    as its row of the model's input goes."""
    before, after = store.window
    tokens = store.database.tokens_at(np.unique(places[:, None] + np.arange(-before, after + 1)))
    centres = np.searchsorted(tokens["place"], places)
    # Around a place none is missing but before the corpus and after it, so that a stretch is a slice.
    begins = np.searchsorted(tokens["place"], places - before)
    ends = np.searchsorted(tokens["place"], places + after, side="right")
    stretches = []
    for centre, begin, end in zip(centres, begins, ends, strict=True):
        same = begin + np.flatnonzero(tokens["row"][begin:end] == tokens["row"][centre])
        stretches.append(slice(int(same[0]), int(same[-1]) + 1))
    return tokens, centres, stretches


def firings(store: OpenedStore, latent: int, columns: tuple[str, ...] = ("value",)) -> dict[str, np.ndarray]:
    """All firings that are kept of a latent: `place`, ascending, and columns of the table activations."""
    return store.database.columns(
        f"select place, {', '.join(columns)} from activations where latent = ? order by place", [latent]
    )


def at(places: np.ndarray, fired: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The firings' numbers at some places: 0 where it is silent, effects nan where there is none."""
    index = np.searchsorted(fired["place"], places)
    index[index == len(fired["place"])] = 0
    fires = fired["place"][index] == places if len(fired["place"]) else np.zeros(len(places), bool)
    found = {name: np.full(len(places), SILENT[name]) for name in fired if name != "place"}
    for name in found:
        found[name][fires] = fired[name][index[fires]]
    return found
