"""Explained variance: how much of the activations' spread the reconstruction keeps.

1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean of each dimension over all tokens; sums in float64, independent of batching.

A few tokens of huge norm can hold most of the spread, and the number is then about them alone. So the same sums are
kept apart by norm, four bins an octave: where at most 5 % of the tokens, those above a norm, hold over half of the
spread, the number without them stands beside it, around the mean of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import Coded
from saekit.files.choices import checked
from saekit.metrics.metric import Metric, Number

DEFINITION = "1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ per dimension over all counted tokens, summed in float64"
FEW, MUCH = 0.05, 0.5
BINS = 4
"""An octave of norms."""


@dataclass(frozen=True)
class Explained:
    """Explained variance of all tokens, and of those that a few of huge norm leave; or at each site."""

    numbers: Sequence[Number]


@dataclass
class Sums:
    """Of some tokens: how many, Σ‖x − x̂‖², Σ‖x − o‖² and Σ(x − o) around one origin o."""

    n: int = 0
    error: float = 0.0
    square: float = 0.0
    total: Tensor | float = 0.0

    def __add__(self, other: Sums) -> Sums:
        total = self.total + other.total
        return Sums(self.n + other.n, self.error + other.error, self.square + other.square, total)

    @property
    def spread(self) -> float:
        """Σ‖x − x̄‖²"""
        return self.square - float(torch.as_tensor(self.total).square().sum()) / max(self.n, 1)


class ExplainedVariance(Metric):
    """Streaming sums; ``value`` at any time. Values are kept relative to the first token, lest large means cancel."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.all, self.bins = Sums(), dict[int, Sums]()
        self.origin: Tensor | None = None

    def add(self, x: Num[Tensor, "*token d"], x_hat: Num[Tensor, "*token d"]) -> None:
        """Some more tokens and their reconstruction.

        x, x_hat: [..., d] both."""
        x, x_hat = (t.cpu() if t.device.type == "mps" else t for t in (x, x_hat))  # MPS has no float64
        x, x_hat = x.reshape(-1, x.shape[-1]).double(), x_hat.reshape(-1, x.shape[-1]).double()
        if not len(x):
            return
        if self.origin is None:
            self.origin = x[0]
        error, away = (x - x_hat).square(), x - self.origin
        self.all += Sums(len(x), float(error.sum()), float(away.square().sum()), away.sum(0))
        self._add_by_norm(x.norm(dim=1), error.sum(1), away)

    def update(self, batch: Coded) -> None:
        """The target and its reconstruction."""
        self.add(batch.target, batch.x_hat)

    def _add_by_norm(self, norms: Float[Tensor, " n"], errors: Float[Tensor, " n"], away: Float[Tensor, "n d"]) -> None:
        places = (BINS * norms.clamp_min(1e-300).log2()).floor().long()
        found, where = places.unique(return_inverse=True)
        n = torch.bincount(where)
        none = away.new_zeros(len(n))
        error, square = none.index_add(0, where, errors), none.index_add(0, where, away.square().sum(1))
        total = away.new_zeros(len(n), away.shape[1]).index_add(0, where, away)
        for i, place in enumerate(found.tolist()):
            new = Sums(int(n[i]), float(error[i]), float(square[i]), total[i].clone())
            self.bins[place] = self.bins.get(place, Sums()) + new

    def result(self) -> Number | Explained:
        """1 where nothing is lost; with the number of the rest where a few tokens hold most of the variance."""
        whole = Number("explained variance", self.value, DEFINITION, beside="share of the spread kept; 1 is all")
        if (few := self._few()) is None:
            return whole
        place, rest = few
        n, spread = self.all.n - rest.n, self.all.spread
        said = (
            f"{100 * n / self.all.n:.2g} % of the counted tokens ({n:,} of {self.all.n:,}, of norm "
            f"{2 ** (place / BINS):.3g} and more) hold {100 * (1 - rest.spread / spread):.4g} % of the variance: "
            "this is the number without them"
        )
        value = 1 - rest.error / rest.spread if rest.spread > 0 else float("nan")
        return Explained([whole, Number("explained variance of the rest", value, said)])

    def _few(self) -> tuple[int, Sums] | None:
        """The norms above which at most FEW of the tokens hold over MUCH of the spread, and the sums of the rest: there
        where the share they hold is most above the share they are."""
        whole, rest, found, gain = self.all, Sums(), None, 0.0
        for place in sorted(self.bins):
            few, held = 1 - rest.n / whole.n, 1 - rest.spread / whole.spread if whole.spread > 0 else 0.0
            if few <= FEW and held > MUCH and held - few > gain:
                found, gain = (place, rest), held - few
            rest = rest + self.bins[place]
        return found

    @property
    def value(self) -> float:
        """NaN where all tokens are the same. Raises ValueError before the first token."""
        if self.all.n == 0:
            raise ValueError("explained variance of no tokens is not defined.")
        return 1 - self.all.error / self.all.spread if self.all.spread > 0 else float("nan")


class SiteVariance(Metric):
    """The explained variance at each of the sites that a dictionary writes, where there are several."""

    def begin(self, model: Any, dictionary: Dictionary, concepts: Sequence[str]) -> None:
        """Nothing was seen yet."""
        self.widths = dictionary.write_widths if len(dictionary.writes) > 1 else {}
        self.sites = {site: ExplainedVariance() for site in self.widths}

    def update(self, batch: Coded) -> None:
        """Each site's part of the target and of its reconstruction."""
        if self.sites:
            parts = (joined.split([*self.widths.values()], dim=-1) for joined in (batch.target, batch.x_hat))
            for sums, x, x_hat in zip(self.sites.values(), *parts, strict=True):
                sums.add(x, x_hat)

    def result(self) -> Explained | None:
        """A number a site; None of a dictionary that writes one."""
        if not self.sites:
            return None
        numbers = [
            Number(f"explained variance at {site}", sums.value, f"{DEFINITION}, at this site", beside="1 is all")
            for site, sums in self.sites.items()
        ]
        return Explained(numbers)


def explained_variance(x: Tensor, x_hat: Tensor, definition: str = "saekit") -> float:
    """Explained variance of a reconstruction, [..., d] both. x = [[2,0],[0,4]], x̂ = [[2,1],[0,3]] gives 0.8.

    x, x_hat: what was encoded, and its reconstruction.
    Raises ValueError for shapes that differ or a definition that is not "saekit".
    """
    checked("definition", definition, ("saekit",))
    if x.shape != x_hat.shape:
        raise ValueError(f"x and x̂ must have one shape, found {tuple(x.shape)} and {tuple(x_hat.shape)}.")
    measure = ExplainedVariance()
    measure.add(x, x_hat)
    return measure.value
