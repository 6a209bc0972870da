"""Run: what training gives back, and the folder it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from saekit.dictionaries import Dictionary, read_dictionary
from saekit.files.paths import resolved
from saekit.files.roles import RUN
from saekit.training.run_text import run_text

if TYPE_CHECKING:
    import pandas


TIMES = ["seconds", "tokens_per_second", "waited"]
"""What of a record is of the clock: all else is the same in every run of the same seed."""


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each measured step, and once more where the run is stopped.

    tokens:       trained on so far.
    total_tokens: as many as were asked for; of a finished run those that whole batches make.
    seconds:      spent. seconds_left: an estimate; None where it is not known yet.
    metrics:      the latest numbers by name.
    finished:     True in a run's last call.
    stopped:      what is said of a run that was stopped, else "".
    latents:      of the dictionary, of which the metric dead counts some.
    tokens_per_second: over the time since the record before, and waited, the share of that time (0 to 1) for which
                  training waited for activations.
    """

    tokens: int
    total_tokens: int
    seconds: float
    metrics: Mapping[str, float]
    finished: bool
    seconds_left: float | None = None
    stopped: str = ""
    latents: int = 0
    tokens_per_second: float = 0.0
    waited: float = 0.0

    @property
    def logged(self) -> dict[str, float]:
        """The metrics with tokens_per_second and waited; {} where nothing was measured."""
        speed = {"tokens_per_second": self.tokens_per_second, "waited": self.waited}
        return {**self.metrics, **speed} if self.metrics else {}


@dataclass(repr=False)
class Run:
    """What was trained, and how it got there.

    dictionaries: in the order of the methods; ``dictionary`` is the one of a run of one.
    records:  one a measured step: tokens, seconds, tokens_per_second since the record before, ``waited``, the share of
              that time for which training waited for activations, loss, explained_variance, l0, dead; ``left_out``
              where tokens of huge norm were, ``worse_than_mean`` in the last one where x̂ ends worse than the mean of
              the activations; of several dictionaries one each, told apart by ``dictionary``, its number.
    out:      the run's folder (config.json, metrics.jsonl, checkpoint, dictionary/ or dictionaries/0, 1, …), or None.
    finished: False when it was stopped; the same call goes on from there.
    """

    role: ClassVar[str] = RUN
    dictionaries: list[Dictionary]
    records: list[dict[str, float]] = field(default_factory=list)
    out: Path | None = None
    finished: bool = True

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The run of a folder, as it stands there: of one that is not finished its records alone.

        Raises ValueError for a folder that holds none."""
        out = resolved(folder)
        try:
            config = json.loads((out / "config.json").read_text(encoding="utf-8"))
            several, kind = isinstance(config["configuration"], list), getattr(torch, config["dtype"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{out} holds no run: its config.json is missing or another's ({error!r}).") from error
        there = places(out, len(config["configuration"]) if several else 1)
        finished = is_finished(out, config, there)
        kind = torch.float32 if kind == torch.bfloat16 else kind
        done = [read_dictionary(place, kind) for place in there] if finished else []
        return cls(done, read_records(out / "metrics.jsonl"), out, finished)

    @property
    def dictionary(self) -> Dictionary:
        """The one of a run of one. Raises ValueError where there are several."""
        if not self.dictionaries:
            raise ValueError(f"the run in {self.out} is not finished: call sk.train with it again first.")
        if len(self.dictionaries) > 1:
            raise ValueError(
                f"this run trained {len(self.dictionaries)} dictionaries: take run.dictionaries[0] or another."
            )
        return self.dictionaries[0]

    @property
    def tokens(self) -> int:
        """Tokens that were trained on; of a run of a folder that is not finished, those of its last record."""
        made = self.dictionaries[0].provenance.tokens if self.dictionaries else None
        return made or int(self.records[-1]["tokens"] if self.records else 0)

    @property
    def metrics(self) -> pandas.DataFrame:
        """``records`` as a pandas frame."""
        import pandas

        return pandas.DataFrame(self.records)

    def __repr__(self) -> str:
        return run_text(self.dictionaries, self.records, self.out, self.finished)

    def _repr_mimebundle_(self, **keywords: Any) -> Any:
        from saekit.plots import training_curve

        if not self.records:
            return {"text/plain": repr(self)}
        bundle: Any = training_curve(self.metrics)._repr_mimebundle_(**keywords)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/plain": repr(self)}, metadata


def places(folder: Path, count: int) -> list[Path]:
    """Where the dictionaries of a run go: dictionary/, or dictionaries/0, 1, …"""
    return [folder / "dictionary"] if count == 1 else [folder / "dictionaries" / str(number) for number in range(count)]


def is_finished(folder: Path, config: Mapping[str, Any], there: Sequence[Path]) -> bool:
    """Whether its dictionaries are there, and of a run that goes on those of its new end."""
    if not all((place / "config.json").is_file() for place in there):
        return False
    if not config.get("gone_on_at"):
        return True
    made = json.loads((there[0] / "config.json").read_text(encoding="utf-8"))["provenance"]["tokens"]
    return made > config["gone_on_at"][-1]


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
