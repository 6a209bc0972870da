"""Which labelled concepts each latent detects, at token level, as metrics.concept_match but for every latent.

Positive: a counted token inside a span of the concept. Predicted: z > t, with t among tenths of the latent's largest z.
For each latent and concept t is chosen on every second document of a kind; the best concepts of a latent are chosen
there too, and precision, recall and F1 are given on the other documents, with the share of all the latent's firings
there (z > 0) that the concept covers: a latent may be precise above its threshold and fire elsewhere below. Concepts of
fewer than 50 tokens are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saekit.features.building.chunks import Readings
from saekit.features.building.statistics import Firings
from saekit.metrics.concepts import LEVELS, MINIMUM

MOST = 3  # concepts a latent


@dataclass(frozen=True)
class Matches:
    """[latent, rank]: concept is an index into the names given, −1 where there is none; numbers of the judging half."""

    concept: np.ndarray
    f1: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    threshold: np.ndarray
    share: np.ndarray


class Concepts:
    """The labels of all tokens; they stay on the disk, sorted by place in each chunk."""

    def __init__(self, readings: Readings, names: int) -> None:
        self.names = names
        self.totals = np.zeros((2, names), np.int64)  # [half, concept]: positive tokens
        for chunk in readings.chunks:
            half = chunk["chooses"][chunk["label_place"]].astype(np.int64)
            cell = half * names + chunk["label_concept"]
            self.totals += np.bincount(cell, minlength=2 * names).reshape(2, names)
        self.readings = readings
        self.kept = np.flatnonzero(self.totals.sum(0) >= MINIMUM)

    def match(self, firings: Firings) -> Matches:
        f = firings
        chooses = self.readings.take("chooses", f.place).astype(bool)
        largest = np.zeros(f.latents, np.float64)
        np.maximum.at(largest, f.latent[chooses], f.value[chooses].astype(np.float64))
        level = np.full(len(f.latent), -1)
        for tenth in range(LEVELS):
            level += f.value > (largest * tenth / LEVELS)[f.latent]
        level = np.where(f.value > 0, level, -1)
        hits, fired = self._counts(f, level, chooses)
        (_, _, choosing), (precision, recall, judged) = (
            _scores(hits[half], fired[half], self.totals[half][self.kept]) for half in (1, 0)
        )
        best_level = choosing.argmax(1)  # [latent, concept]
        score = np.take_along_axis(choosing, best_level[:, None], 1)[:, 0]
        order = np.argsort(-score, axis=1, kind="stable")[:, :MOST]

        def at(values: np.ndarray) -> np.ndarray:
            chosen = np.take_along_axis(values, best_level[:, None], 1)[:, 0]
            return np.take_along_axis(chosen, order, 1)

        found = np.take_along_axis(score, order, 1) > 0
        step = np.take_along_axis(best_level, order, 1)
        concept = np.where(found, self.kept[order] if len(self.kept) else order, -1)
        share = np.take_along_axis(precision[:, 0], order, 1)
        return Matches(concept, at(judged), at(precision), at(recall), largest[:, None] * step / LEVELS, share)

    def _counts(self, f: Firings, level: np.ndarray, chooses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """hits [half, latent, level, concept] and firings [half, latent, level, 1] at or above each level."""
        width = len(self.kept)
        column = np.full(self.names, -1)
        column[self.kept] = np.arange(width)
        hits = np.zeros(2 * f.latents * LEVELS * width, np.int64)
        fires = level >= 0
        cell = (chooses * f.latents + f.latent) * LEVELS + level
        fired = np.bincount(cell[fires], minlength=2 * f.latents * LEVELS).reshape(2, f.latents, LEVELS, 1)
        which = np.searchsorted(self.readings.bases, f.place, side="right") - 1
        for c, chunk in enumerate(self.readings.chunks):
            here = np.flatnonzero(fires & (which == c))
            place, labels = (f.place[here] - self.readings.bases[c]).astype(np.int32), chunk["label_concept"]
            begin = np.searchsorted(chunk["label_place"], place)
            count = np.searchsorted(chunk["label_place"], place, side="right") - begin
            of = np.repeat(np.arange(len(here)), count)
            each = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
            name = column[labels[begin[of] + each]]
            kept = name >= 0
            hits += np.bincount(cell[here][of][kept] * width + name[kept], minlength=len(hits))
        shaped = hits.reshape(2, f.latents, LEVELS, width)
        return shaped[:, :, ::-1].cumsum(2)[:, :, ::-1], fired[:, :, ::-1].cumsum(2)[:, :, ::-1]


def _scores(hits: np.ndarray, fired: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    precision = hits / np.maximum(fired, 1)
    recall = hits / np.maximum(total, 1)
    return precision, recall, 2 * hits / np.maximum(fired + total, 1)
