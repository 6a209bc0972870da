"""Run: what training gives back, and the folder it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saekit.dictionaries import Dictionary
from saekit.files.roles import RUN

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each measured step."""

    tokens: int
    total_tokens: int
    seconds: float
    metrics: Mapping[str, float]
    finished: bool


@dataclass
class Run:
    """What was trained, and how it got there.

    dictionaries: in the order of the configurations; ``dictionary`` is the one of a run of one.
    records:  one a measured step: tokens, seconds, loss, explained_variance, l0, dead; of several dictionaries one
              each, told apart by ``dictionary``, its number.
    out:      the run's folder (config.json, metrics.jsonl, checkpoint, dictionary/ or dictionaries/0, 1, …), or None.
    finished: False when it was stopped; the same call goes on from there.
    """

    role: ClassVar[str] = RUN
    dictionaries: list[Dictionary]
    records: list[dict[str, float]] = field(default_factory=list)
    out: Path | None = None
    finished: bool = True

    @property
    def dictionary(self) -> Dictionary:
        """The one of a run of one. Raises ValueError where there are several."""
        if len(self.dictionaries) > 1:
            raise ValueError(
                f"this run trained {len(self.dictionaries)} dictionaries: take run.dictionaries[0] or another."
            )
        return self.dictionaries[0]

    @property
    def metrics(self) -> pandas.DataFrame:
        """``records`` as a pandas frame."""
        import pandas

        return pandas.DataFrame(self.records)

    def _repr_mimebundle_(self, **keywords: Any) -> Any:
        from saekit.plots import training_curve

        return training_curve(self.metrics)._repr_mimebundle_(**keywords)


def read_records(file: Path, until: int | None = None) -> list[dict[str, float]]:
    """The records of a metrics.jsonl, those after ``until`` tokens and a last half line left out."""
    records: list[dict[str, float]] = []
    if not file.is_file():
        return records
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if until is None or record["tokens"] <= until:
            records.append(record)
    return records
