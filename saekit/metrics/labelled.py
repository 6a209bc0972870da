"""How well latents detect labelled concepts, counted once for all who ask: which latent fits a concept (concepts.py),
and which concepts fit each latent of a feature store.

Positive: a token inside a span of the concept. Predicted: z > t, with t a tenth of the latent's largest z in the half
of the documents that chooses. Everything is counted for both halves: one to choose by, one to judge by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

LEVELS = 10
"""Thresholds tried: tenths of the largest z, from 0 to 0.9."""
MINIMUM = 50
"""Concepts with fewer positive tokens are left out."""
AT_ONCE = 2**17  # firings, each of which has several labels


@dataclass(frozen=True)
class Scores:
    """Of some latents, at each level, for the concepts kept: F1 of the half that chooses; precision, recall and F1 of
    the half that judges. largest: z in the choosing half, 0 where a latent does not fire there."""

    largest: Float[np.ndarray, " latent"]
    choosing: Float[np.ndarray, "latent level concept"]
    precision: Float[np.ndarray, "latent level concept"]
    recall: Float[np.ndarray, "latent level concept"]
    f1: Float[np.ndarray, "latent level concept"]


class Labelled:
    """The labels of all tokens, in pieces that follow each other: of each, "chooses" [places], whether the token lies
    in the half that chooses, and its (place, concept) pairs sorted by place, "label_place" and "label_concept".

    totals: [half, concept], positive tokens in the judging and the choosing half. kept: concepts that have enough.
    """

    def __init__(self, pieces: Sequence[Mapping[str, np.ndarray]], concepts: int) -> None:
        """concepts: how many there are, by number."""
        self.pieces = pieces
        self.bases = np.cumsum([0, *(len(piece["chooses"]) for piece in pieces)]).astype(np.int64)
        self.totals = np.zeros((2, concepts), np.int64)
        for piece in pieces:
            half = piece["chooses"][piece["label_place"]].astype(np.int64)
            cell = half * concepts + piece["label_concept"]
            self.totals += np.bincount(cell, minlength=2 * concepts).reshape(2, concepts)
        self.kept = np.flatnonzero(self.totals.sum(0) >= MINIMUM)
        self.column = np.full(concepts, -1)
        self.column[self.kept] = np.arange(len(self.kept))

    def scores(
        self,
        latents: int,
        latent: Int[np.ndarray, " firing"],
        place: Int[np.ndarray, " firing"],
        value: Float[np.ndarray, " firing"],
    ) -> Scores:
        """Of latents numbered from 0, from their firings in any order. What is not z > 0 does not count."""
        chooses = np.empty(len(place), bool)
        for piece, base, here in self._by_piece(place):
            chooses[here] = piece["chooses"][place[here] - base]
        largest = np.zeros(latents, np.float64)
        np.maximum.at(largest, latent[chooses], value[chooses].astype(np.float64))
        level = np.full(len(latent), -1)  # the highest one that the firing is above
        for step in range(LEVELS):
            level += value > (largest * step / LEVELS)[latent]
        fires = np.flatnonzero((level >= 0) & (value > 0))
        cell = (chooses * latents + latent)[fires] * LEVELS + level[fires]
        hits, fired = self._counts(latents, place[fires], cell)
        judging, choosing = (_scores(hits[half], fired[half], self.totals[half][self.kept]) for half in (0, 1))
        return Scores(largest, choosing[2], *judging)

    def _counts(self, latents: int, place: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """hits [half, latent, level, concept] and firings [half, latent, level, 1] at or above each level."""
        width = len(self.kept)
        fired = np.bincount(cell, minlength=2 * latents * LEVELS).reshape(2, latents, LEVELS, 1)
        hits = np.zeros(2 * latents * LEVELS * width, np.int64)
        for piece, base, here in self._by_piece(place):
            at = (place[here] - base).astype(piece["label_place"].dtype)
            begin = np.searchsorted(piece["label_place"], at)
            count = np.searchsorted(piece["label_place"], at, side="right") - begin
            firing = np.repeat(np.arange(len(here)), count)
            each = np.arange(len(firing)) - np.repeat(np.cumsum(count) - count, count)
            concept = self.column[piece["label_concept"][begin[firing] + each]]
            kept = concept >= 0
            hits += np.bincount(cell[here][firing][kept] * width + concept[kept], minlength=len(hits))
        shaped = hits.reshape(2, latents, LEVELS, width)
        return shaped[:, :, ::-1].cumsum(2)[:, :, ::-1], fired[:, :, ::-1].cumsum(2)[:, :, ::-1]

    def _by_piece(self, place: np.ndarray) -> Iterator[tuple[Mapping[str, np.ndarray], int, np.ndarray]]:
        """Each piece in which there are firings, its first place, and which firings they are, not too many at once."""
        which = (np.searchsorted(self.bases, place, side="right") - 1).astype(np.int16)
        order = np.argsort(which, kind="stable")
        ends = np.searchsorted(which[order], np.arange(len(self.pieces) + 1))
        for c, piece in enumerate(self.pieces):
            for start in range(ends[c], ends[c + 1], AT_ONCE):
                yield piece, int(self.bases[c]), order[start : min(start + AT_ONCE, ends[c + 1])]


def _scores(hits: np.ndarray, fired: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    precision = hits / np.maximum(fired, 1)
    recall = hits / np.maximum(total, 1)
    return precision, recall, 2 * hits / np.maximum(fired + total, 1)
