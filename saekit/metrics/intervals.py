"""Intervals: how sure a number is, by drawing again the documents, or pairs, that it was measured on.

Tokens of one document are alike, so n of them say less than n independent draws would: whole documents are drawn, with
replacement, as many as there are, and the number is made of each such sample. The interval holds the middle share of
these numbers (the percentile bootstrap: Efron 1979; by clusters: Davison and Hinkley 1997, chapter 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from saekit.files.arguments import whole

Numbers = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."] | Sequence[Any]
LEAST_DEFINED = 0.9
"""Of the samples that the number must be defined for; with fewer the interval is NaN."""


@dataclass(frozen=True)
class Interval:
    """A number and where it lies when other documents are drawn: ``low`` to ``high`` in ``level`` of the samples.

    value:   on all of them. float(interval) gives it.
    units:   how many documents (or what ``of`` says) there are; with one of them low and high are NaN.
    draws:   samples. undefined: how many of these gave no number (one class alone, for an AUROC).
    low, high, level, of: as said.
    """

    value: float
    low: float
    high: float
    units: int
    of: str = "document"
    level: float = 0.95
    draws: int = 1000
    undefined: int = 0

    @property
    def definition(self) -> str:
        """What the two ends are."""
        left_out = f", {self.undefined:,} of them without a number" if self.undefined else ""
        return (
            f"{self.level:.0%} of {self.draws:,} samples of {self.units:,} {self.of}s, drawn with replacement{left_out}"
        )

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        row = {"value": self.value, "low": self.low, "high": self.high, f"{self.of}s": self.units}
        return html_table([row], caption=self.definition)


def bootstrap(
    values: Numbers,
    units: Numbers | None = None,
    statistic: Callable[[np.ndarray], float] | None = None,
    *,
    of: str = "document",
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of values, or another number of them, with the interval that drawing documents again gives it.

    values:    [n], a number for each token (or pair); [n, …] for a ``statistic`` that looks at several.
    units:     [n], the document that each belongs to, by number or name; None: each is one of its own.
    statistic: a function of the values of a sample, [m, …], that gives a number or NaN; None: their mean.
    of:        what a unit is called. draws: samples. level: share of them between the ends. seed: of the draws.
    Returns an ``Interval``. For example ``sk.metrics.bootstrap(losses, documents)``; of a difference between two
    dictionaries give the differences, token by token, so that both are judged on the same sample.
    Raises ValueError for no values, another number of units, values that are not finite, and a level outside (0, 1).
    """
    found = as_numpy(values)
    if not found.ndim or not len(found):
        raise ValueError("there is nothing to draw from: values is empty.")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise ValueError(f"{int((~np.isfinite(found)).sum())} of {found.size} values are NaN or infinite.")
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, such as 0.95, found {level}.")
    if statistic is None and found.ndim > 1:
        raise ValueError(f"the mean is of values [n], found shape {found.shape}: give a statistic.")
    number = numbered(units, len(found), of)
    count, generator = int(number.max()) + 1, np.random.default_rng(seed)
    sample = _means(found, number, count) if statistic is None else _of_rows(found, number, count, statistic)
    value = sample(np.arange(count))
    draws = whole("draws", draws)
    drawn = np.array([sample(generator.integers(count, size=count)) for _ in range(draws if count > 1 else 0)])
    defined = drawn[~np.isnan(drawn)]
    ends = (float("nan"), float("nan"))
    if count > 1 and len(defined) >= LEAST_DEFINED * draws:
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
        ends = (float(low), float(high))
    return Interval(value, *ends, count, of, level, draws, len(drawn) - len(defined))


def as_numpy(values: Numbers) -> np.ndarray:
    """Numbers or names as NumPy has them, tensors wherever they lie."""
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def numbered(units: Numbers | None, n: int, of: str = "document") -> np.ndarray:
    """The units of n values, numbered from 0; each its own where None. Raises ValueError for another length."""
    if units is None:
        return np.arange(n)
    given = as_numpy(units)
    if given.shape != (n,):
        raise ValueError(f"{n} values need the {of} of each, [{n}], found shape {given.shape}.")
    return np.unique(given, return_inverse=True)[1]


def _means(values: np.ndarray, number: np.ndarray, count: int) -> Callable[[np.ndarray], float]:
    """Of drawn units: all their values' mean, from a sum and a size of each."""
    sums = np.bincount(number, weights=values.astype(np.float64), minlength=count)
    sizes = np.bincount(number, minlength=count)
    return lambda drawn: float(sums[drawn].sum() / sizes[drawn].sum())


def _of_rows(
    values: np.ndarray, number: np.ndarray, count: int, statistic: Callable[[np.ndarray], float]
) -> Callable[[np.ndarray], float]:
    """Of drawn units: the statistic of all their values."""
    order = np.argsort(number, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(number, minlength=count))[:-1])
    return lambda drawn: float(statistic(values[np.concatenate([rows[unit] for unit in drawn])]))
