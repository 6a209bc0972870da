"""Explained variance: how much of the activations' spread the reconstruction keeps.

1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean of each dimension over all tokens; sums in float64, independent of batching.
"""

from __future__ import annotations

import torch
from jaxtyping import Num
from torch import Tensor

from saekit.dictionaries.coded import Coded
from saekit.files.choices import checked
from saekit.metrics.metric import Metric, Number

DEFINITION = "1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ per dimension over all counted tokens, summed in float64"


class ExplainedVariance(Metric):
    """Streaming sums; ``value`` at any time. Values are kept relative to the first token, lest large means cancel."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.n, self.error, self.square = 0, 0.0, 0.0
        self.origin: Tensor | None = None
        self.total: Tensor | float = 0.0

    def add(self, x: Num[Tensor, "*token d"], x_hat: Num[Tensor, "*token d"]) -> None:
        """Some more tokens and their reconstruction."""
        x, x_hat = (t.cpu() if t.device.type == "mps" else t for t in (x, x_hat))  # MPS has no float64
        x, x_hat = x.reshape(-1, x.shape[-1]).double(), x_hat.reshape(-1, x.shape[-1]).double()
        if not len(x):
            return
        if self.origin is None:
            self.origin = x[0]
        self.n += len(x)
        self.error += float((x - x_hat).square().sum())
        self.square += float((x - self.origin).square().sum())
        self.total = self.total + (x - self.origin).sum(0)

    def update(self, batch: Coded) -> None:
        """The target and its reconstruction."""
        self.add(batch.target, batch.x_hat)

    def result(self) -> Number:
        """1 where nothing is lost."""
        return Number("explained variance", self.value, DEFINITION)

    @property
    def value(self) -> float:
        """NaN where all tokens are the same. Raises ValueError before the first token."""
        if self.n == 0:
            raise ValueError("explained variance of no tokens is not defined.")
        spread = self.square - float(torch.as_tensor(self.total).square().sum()) / self.n
        return 1 - self.error / spread if spread > 0 else float("nan")


def explained_variance(x: Tensor, x_hat: Tensor, definition: str = "saekit") -> float:
    """Explained variance of a reconstruction, [..., d] both. x = [[2,0],[0,4]], x̂ = [[2,1],[0,3]] gives 0.8.

    Raises ValueError for shapes that differ or a definition that is not "saekit".
    """
    checked("definition", definition, ("saekit",))
    if x.shape != x_hat.shape:
        raise ValueError(f"x and x̂ must have one shape, found {tuple(x.shape)} and {tuple(x_hat.shape)}.")
    measure = ExplainedVariance()
    measure.add(x, x_hat)
    return measure.value
