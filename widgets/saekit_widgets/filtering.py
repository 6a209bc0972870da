"""Which features the list of a browser shows, and in what order: the same in Python as in filtering.js."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from saekit_widgets.protocols import Listing

RANGES = ("density", "max", "f1", "loss_effect", "detection")
TEXTS = ("search", "concept")
SWITCHES = ("starred", "dead")
SORTS = ("latent", *RANGES)


def checked_filter(given: Mapping[str, Any], concepts: Sequence[str]) -> dict[str, Any]:
    """The filter without what filters nothing. Raises ValueError for what it cannot be, naming the nearest."""
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key in RANGES:
            checked[key] = _range(key, value)
        elif key in TEXTS:
            if not isinstance(value, str):
                raise ValueError(f"filter[{key!r}] is text, not {value!r}.")
            checked[key] = value
        elif key in SWITCHES:
            if not isinstance(value, bool):
                raise ValueError(f"filter[{key!r}] is True or False, not {value!r}.")
            checked[key] = value
        else:
            raise ValueError(unknown("filter", key, (*RANGES, *TEXTS, *SWITCHES)))
    concept = checked.get("concept")
    if concept and concept not in concepts:
        raise ValueError(unknown("concept", concept, concepts))
    return {key: value for key, value in checked.items() if value is not False and value != ""}


def matching(
    listing: Listing, labels: Mapping[int, Mapping[str, Any]], filter: Mapping[str, Any], sort: Sequence[Any]
) -> list[int]:
    """The latents that the list shows, in its order. filter and sort are checked ones."""
    columns, size = listing["columns"], listing["d_sae"]
    dead = np.asarray(columns["density"]) == 0
    starred = np.zeros(size, bool)
    starred[[latent for latent, entry in labels.items() if entry.get("star")]] = True
    words = _searchable(filter.get("search", "")).strip()
    listed = ~dead  # dead ones only where something asks for them: the switch, a star, their own number
    if filter.get("starred"):
        listed = listed | starred
    if words.isdecimal() and int(words) < size:
        listed[int(words)] = True
    keep = dead if filter.get("dead") else listed
    if filter.get("starred"):
        keep = keep & starred
    for name in RANGES:
        if name in filter:
            low, high = filter[name]
            values = np.asarray(columns[name])
            keep = keep & (values >= (-math.inf if low is None else low))
            keep = keep & (values <= (math.inf if high is None else high))
    if "concept" in filter:
        keep = keep & (np.asarray(listing["concept"]) == listing["concepts"].index(filter["concept"]))
    if words:
        keep = keep & np.array([_found(words, latent, listing, labels) for latent in range(size)], bool)
    column, descending = str(sort[0]), bool(sort[1])
    values = np.arange(size, dtype=float) if column == "latent" else np.asarray(columns[column], dtype=float)
    order = np.argsort(-values if descending else values, kind="stable")  # nan last, either way
    return [int(latent) for latent in order if keep[latent]]


def _found(words: str, latent: int, listing: Listing, labels: Mapping[int, Mapping[str, Any]]) -> bool:
    texts = (listing["hints"][latent], labels.get(latent, {}).get("label") or "", str(latent))
    return any(words in _searchable(text) for text in texts)


def _range(key: str, value: Any) -> list[float | None]:
    sides = list(value) if isinstance(value, list | tuple) else []
    numbers = [side for side in sides if isinstance(side, Real) and not isinstance(side, bool)]
    given = [side for side in sides if side is not None]
    if len(sides) != 2 or len(numbers) != len(given) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"filter[{key!r}] is [low, high], numbers or None; it is not {value!r}.")
    if len(given) == 2 and given[0] > given[1]:
        raise ValueError(f"filter[{key!r}] goes from {given[0]} down to {given[1]}: give the lower number first.")
    return [None if side is None else float(side) for side in sides]


def unknown(what: str, given: Any, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(str(given), known, 1, 0.3)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"{what} does not know {given!r}.{meant} It knows {listed}."


def _searchable(text: str) -> str:
    """As the browser's search sees text: no case, no sign for a space."""
    return text.replace("␣", "").lower()
