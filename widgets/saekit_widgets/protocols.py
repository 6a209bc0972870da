"""What the widgets need from the library, as types; anything of this shape will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class TrainingProgress(Protocol):
    """Where a training run stands, handed to its callback."""

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole run."""

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier sessions of a resumed run included."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The latest numbers by name: `loss`, `explained_variance`, `l0`, `dead` …; nan where not measured."""

    @property
    def finished(self) -> bool:
        """True in the last call of a run, at its end or when it was stopped."""
