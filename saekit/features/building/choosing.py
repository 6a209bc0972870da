"""Which tokens of the corpus are shown for a latent.

top       the strongest firings, one a document, the same text only once
interval  firings drawn from five equal parts of (0, strongest]
quantile  firings drawn from five parts of equal count
random    firings drawn from all of them: what the latent mostly does
near      silent tokens where it nearly fired (see near)

Draws are by a hash of (seed, latent, place), so that they do not depend on how the work was divided.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saekit.features.building.chunks import Readings
from saekit.features.building.settings import Settings
from saekit.features.building.statistics import Firings
from saekit.features.schema import INTERVALS, KINDS, QUANTILES, SAME_AFTER, SAME_BEFORE

CONSIDERED = 3  # times as many top candidates are looked at as are shown


@dataclass(frozen=True)
class Chosen:
    """Rows of schema.EXAMPLES: latents numbered from 0 as in the firings."""

    latent: np.ndarray
    kind: np.ndarray  # index into KINDS
    band: np.ndarray
    rank: np.ndarray
    place: np.ndarray
    value: np.ndarray
    copies: np.ndarray


def choose(
    firings: Firings, readings: Readings, near: tuple[np.ndarray, ...], settings: Settings, first: int
) -> Chosen:
    """All examples of some latents. near: latent, place, value. first: the number of the first latent in the whole
    dictionary."""
    parts = [_top(firings, readings, settings.top)]
    whole = firings.latent.astype(np.uint64) + np.uint64(first)
    drawn = {
        kind: hashed(settings.seed * 4 + salt, whole, firings.place) for salt, kind in enumerate(("random", "bands"))
    }
    group = firings.latent.astype(np.int64)
    parts.append(_drawn(firings, group, firings.counts, drawn["random"], settings.random, "random", 1))
    for kind, bands, of in (("interval", INTERVALS, firings.interval), ("quantile", QUANTILES, firings.quantile)):
        cells = group * bands + of
        counts = np.bincount(cells, minlength=firings.latents * bands)
        parts.append(_drawn(firings, cells, counts, drawn["bands"], settings.per_band, kind, bands))
    latent, place, value = near
    rank = _ranks(latent)
    zeros = np.zeros_like(rank)
    parts.append(Chosen(latent, np.full_like(rank, KINDS.index("near")), zeros, rank, place, value, zeros))
    return _joined(parts)


def in_windows(firings: Firings, latent: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Which firings lie in one of the windows (latent, first place, last place) of their latent."""
    width = int(max(firings.place.max(initial=0), last.max(initial=0))) + 2
    key = firings.latent.astype(np.int64) * width + firings.place
    begins = np.searchsorted(key, latent.astype(np.int64) * width + first)
    ends = np.searchsorted(key, latent.astype(np.int64) * width + last, side="right")
    depth = np.zeros(len(key) + 1, np.int64)
    np.add.at(depth, begins, 1)
    np.add.at(depth, ends, -1)
    return np.cumsum(depth[:-1]) > 0


def _top(f: Firings, readings: Readings, most: int) -> Chosen:
    # The entries of a latent in a document lie together: the first of the strongest stands for them.
    document = readings.take("document", f.place)
    begins = np.empty(0, np.int64)
    if len(document):
        begins = np.flatnonzero(np.r_[True, (np.diff(f.latent) != 0) | (np.diff(document) != 0)])
    group = np.zeros(len(document), np.int64)
    group[begins[1:]] = 1
    group = np.cumsum(group)
    peaks = np.maximum.reduceat(f.strength, begins) if len(begins) else np.empty(0)
    is_peak = f.strength == peaks[group]
    index = np.flatnonzero(is_peak)
    index = index[np.r_[True, np.diff(group[index]) != 0]] if len(index) else index
    order = np.lexsort((f.place[index], -f.strength[index], f.latent[index]))
    index = index[order]
    index = index[_ranks(f.latent[index]) < CONSIDERED * most]
    latent, text = f.latent[index], _texts(readings, f.place[index])
    _, same = np.unique(np.column_stack([latent.astype(np.uint64), text]), axis=0, return_inverse=True)
    same = same.reshape(-1)
    _, original = np.unique(same, return_index=True)
    copies = np.bincount(same)[same] - 1
    index, latent, copies = (values[np.sort(original)] for values in (index, latent, copies))
    rank = _ranks(latent)
    kept = rank < most
    zeros = np.zeros(int(kept.sum()), np.int64)
    kind = np.full(len(zeros), KINDS.index("top"))
    index = index[kept]
    return Chosen(latent[kept], kind, zeros, rank[kept], f.place[index], f.value[index], copies[kept])


def _texts(readings: Readings, places: np.ndarray) -> np.ndarray:
    """A hash of the tokens around each place that lie in its row."""
    first, last = readings.take("row_first", places), readings.take("row_last", places)
    found = np.zeros(len(places), np.uint64)
    for offset in range(-SAME_BEFORE, SAME_AFTER + 1):
        at = places + offset
        inside = (at >= first) & (at <= last)
        token = np.zeros(len(places), np.uint64)
        token[inside] = readings.take("token", at[inside]).astype(np.uint64) + np.uint64(1)
        found = _mixed(found * np.uint64(31) + token)
    return found


def _drawn(
    f: Firings, cells: np.ndarray, counts: np.ndarray, priority: np.ndarray, most: int, kind: str, bands: int
) -> Chosen:
    """The `most` entries of smallest priority of each cell (latent, band), strongest band first where shown."""
    # Of a cell all but about 4 · most + 20 entries are passed over; one that is left with too few is taken whole.
    share = np.minimum(1.0, (4 * most + 20) / np.maximum(counts, 1))
    likely = priority < share[cells]
    enough = np.bincount(cells[likely], minlength=len(counts)) >= np.minimum(counts, most)
    index = np.flatnonzero(likely | ~enough[cells])
    index = index[np.lexsort((priority[index], cells[index]))]
    rank = _ranks(cells[index])
    index, rank = index[rank < most], rank[rank < most]
    number = np.full(len(index), KINDS.index(kind))
    band = cells[index] % bands if bands > 1 else np.zeros(len(index), np.int64)
    copies = np.zeros(len(index), np.int64)
    return Chosen(f.latent[index], number, band, rank, f.place[index], f.value[index], copies)


def _ranks(groups: np.ndarray) -> np.ndarray:
    """0, 1, 2 … within each run of equal values."""
    if not len(groups):
        return np.empty(0, np.int64)
    begins = np.flatnonzero(np.r_[True, np.diff(groups) != 0])
    return np.arange(len(groups)) - np.repeat(begins, np.diff(np.r_[begins, len(groups)]))


def _joined(parts: list[Chosen]) -> Chosen:
    names = ("latent", "kind", "band", "rank", "place", "value", "copies")
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    order = np.lexsort((columns[3], columns[2], columns[1], columns[0]))
    return Chosen(*(column[order] for column in columns))


def hashed(salt: int, latent: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Uniform in [0, 1), the same everywhere (splitmix64)."""
    key = _mixed(latent * np.uint64(0x9E3779B97F4A7C15) + np.uint64(salt))
    return _mixed(key + place.astype(np.uint64)).astype(np.float64) / 2.0**64


def _mixed(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
