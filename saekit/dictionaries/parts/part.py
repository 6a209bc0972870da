"""Part: what an encoder and a decoder have in common, each the owner of its parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn


class Part(nn.Module, ABC):
    """An encoder or a decoder.

    Training divides every site's activations by a scale; at the end each part folds the scales of its own sites into
    its own parameters, since only it knows how they grow.
    """

    @abstractmethod
    def rescale(self, reads: Sequence[float], writes: Sequence[float], codes: float) -> None:
        """Make of the part for x_s / scale_s that for x_s, with codes ``codes`` times as large; reads and writes: the
        scales of the sites read and written, in their order."""

    def before_step(self) -> None:
        """After the backward pass, before the optimiser: project a gradient, for example."""

    def after_step(self) -> None:
        """After the optimiser: put a constraint back in force, for example."""
