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
from saekit.metrics.labelled import LEVELS, Labelled

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
        """names: how many concepts there are."""
        self.labelled = Labelled(readings.chunks, names)

    def match(self, firings: Firings) -> Matches:
        """The best concepts of each latent, chosen in one half and judged in the other."""
        scores = self.labelled.scores(firings.latents, firings.latent, firings.place, firings.value)
        best_level = scores.choosing.argmax(1)  # [latent, concept]
        score = np.take_along_axis(scores.choosing, best_level[:, None], 1)[:, 0]
        order = np.argsort(-score, axis=1, kind="stable")[:, :MOST]

        def at(values: np.ndarray) -> np.ndarray:
            chosen = np.take_along_axis(values, best_level[:, None], 1)[:, 0]
            return np.take_along_axis(chosen, order, 1)

        found = np.take_along_axis(score, order, 1) > 0
        step = np.take_along_axis(best_level, order, 1)
        kept = self.labelled.kept
        return Matches(
            concept=np.where(found, kept[order] if len(kept) else order, -1),
            f1=at(scores.f1),
            precision=at(scores.precision),
            recall=at(scores.recall),
            threshold=scores.largest[:, None] * step / LEVELS,
            share=np.take_along_axis(scores.precision[:, 0], order, 1),
        )
