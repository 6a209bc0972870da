"""The numbers of latents from their firings: density, moments, maxima, histograms, intervals, quantiles.

Firings come sorted by latent, then place. A strength is |z|. All moments are in float64 and of the firings alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from saekit.features.schema import BINS, INTERVALS, QUANTILES


@dataclass(frozen=True)
class Numbers:
    """One entry a latent; see the columns of the same names in schema.LATENTS."""

    firings: np.ndarray
    max_activation: np.ndarray
    min_activation: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    skewness: np.ndarray
    kurtosis: np.ndarray
    histogram: np.ndarray  # [latent, BINS]
    intervals: np.ndarray  # [latent, INTERVALS]
    quantiles: np.ndarray  # [latent, QUANTILES + 1], nan where it never fires


@dataclass(frozen=True)
class Firings:
    """The firings of latents numbered from 0, with what several parts of building need of them.

    by_strength: the entries sorted by latent, then strength, then place; `rank` is each entry's place in that order
    among its latent's.
    """

    latents: int
    latent: np.ndarray
    place: np.ndarray
    value: np.ndarray
    starts: np.ndarray
    by_strength: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, latents: int, latent: np.ndarray, place: np.ndarray, value: np.ndarray) -> Firings:
        """From entries sorted by latent, then place."""
        starts = np.concatenate([[0], np.cumsum(np.bincount(latent, minlength=latents))])
        by_value = torch.sort(torch.from_numpy(np.abs(value)), stable=True).indices
        order = by_value[torch.sort(torch.from_numpy(latent)[by_value], stable=True).indices].numpy()
        rank = np.empty(len(latent), np.int64)
        rank[order] = np.arange(len(latent)) - starts[latent]
        return cls(latents, latent, place, value, starts, order, rank)

    @property
    def strength(self) -> np.ndarray:
        """|z| of each firing."""
        return np.abs(self.value)

    @property
    def counts(self) -> np.ndarray:
        """Firings of each latent."""
        return np.diff(self.starts)

    @property
    def strongest(self) -> np.ndarray:
        """The largest strength of each latent; 0 where it never fires."""
        found = np.zeros(self.latents, np.float32)
        alive = self.counts > 0
        found[alive] = np.abs(self.value[self.by_strength[self.starts[1:][alive] - 1]])
        return found

    @property
    def interval(self) -> np.ndarray:
        """The band of each firing among equal parts of (0, strongest]."""
        share = self.strength.astype(np.float64) / self.strongest.astype(np.float64)[self.latent]
        return np.minimum((share * INTERVALS).astype(np.int64), INTERVALS - 1)

    @property
    def quantile(self) -> np.ndarray:
        """The band of each firing among equal counts: how many of the inner quantiles lie below it."""
        apart = np.maximum(self.counts[self.latent] - 1, 1)
        return np.maximum((QUANTILES * self.rank + apart - 1) // apart - 1, 0)


def numbers(firings: Firings) -> Numbers:
    """All of them at once."""
    f, n = firings, firings.counts
    value = f.value.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _sums(f, value) / n
        away = value - mean[f.latent]
        variance = _sums(f, away**2) / n
        third, fourth = _sums(f, away**3) / n, _sums(f, away**4) / n
        std = np.sqrt(variance)
        spread = np.where(variance > 0, variance, np.nan)
        skewness, kurtosis = third / spread**1.5, fourth / spread**2
    low, high = _reduced(np.minimum, f), _reduced(np.maximum, f)
    return Numbers(
        firings=n,
        max_activation=high,
        min_activation=low,
        mean=mean,
        std=std,
        skewness=skewness,
        kurtosis=kurtosis,
        histogram=_histogram(f, low, high),
        intervals=_counted(f.latent * INTERVALS + f.interval, f.latents, INTERVALS),
        quantiles=_quantiles(f),
    )


def _histogram(f: Firings, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    a, b = low.astype(np.float64)[f.latent], high.astype(np.float64)[f.latent]
    index = np.minimum(((f.value - a) / (b - a) * BINS).astype(np.int64), BINS - 1)
    return _counted(f.latent * BINS + index, f.latents, BINS)


def _quantiles(f: Firings) -> np.ndarray:
    found = np.full((f.latents, QUANTILES + 1), np.nan, np.float32)
    alive = f.counts > 0
    ordered = np.abs(f.value[f.by_strength]).astype(np.float64)
    starts, last = f.starts[:-1][alive], f.counts[alive] - 1
    for q in range(QUANTILES + 1):
        at = last * q / QUANTILES
        below = np.floor(at).astype(np.int64)
        above = np.minimum(below + 1, last)
        share = at - below
        found[alive, q] = ordered[starts + below] * (1 - share) + ordered[starts + above] * share
    return found


def _sums(f: Firings, weights: np.ndarray) -> np.ndarray:
    return np.bincount(f.latent, weights=weights, minlength=f.latents)


def _reduced(function: np.ufunc, f: Firings) -> np.ndarray:
    """The largest (smallest) value of each latent, and 0."""
    found = np.zeros(f.latents, np.float32)
    alive = f.counts > 0
    if alive.any():
        found[alive] = function(function.reduceat(f.value, f.starts[:-1][alive]), 0)
    return found


def _counted(cells: np.ndarray, latents: int, width: int) -> np.ndarray:
    return np.bincount(cells, minlength=latents * width).reshape(latents, width)
