"""What a run has on the disk: its checkpoint and its records, and what it says of them when it cannot go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from saekit.activations import StreamState
from saekit.engines import processes
from saekit.files import NotWritten, append_lines, write_atomically
from saekit.files.checkpoints import below, read_tensors, write_tensors
from saekit.files.memory import NotEnoughMemory, Room
from saekit.training.estimate import needed_by
from saekit.training.latent_max import LastTokens
from saekit.training.learners import Learner
from saekit.training.memory import would_have_fitted
from saekit.training.run import read_records
from saekit.training.sources import Stream

STATE = ("documents", "chunk", "batches", "left_out")


class OnDisk:
    """The part of a session that is written, and read to go on from.

    step, seconds, scales: how far it is. taken: where the stream stood after the last whole step. recent: the last
    tokens, for methods that look at them in the end. last: those that latent_max is measured on. saved: tokens of the
    checkpoint on the disk. stepped: learners that have made the present step, before the one whose turn it is."""

    stream: Stream
    learners: list[Learner]
    batch_size: int
    step: int
    seconds: float
    scales: dict[str, float]
    taken: StreamState
    recent: dict[str, Tensor]
    last: LastTokens | None
    records: list[dict[str, float]]
    saved: int | None
    stepped: int
    room: Room | None

    def resume(self, folder: Path) -> None:
        """Go on from a folder's checkpoint; records after it are dropped."""
        tensors, numbers = read_tensors(folder / "checkpoint.safetensors")
        for number, learner in enumerate(self.learners):
            learner.restore(tensors, f"{number}/")
        self.stream.state = self.taken = _state_in(tensors, numbers, "carried/")
        self.recent = {
            site: x.to(self.learners[0].dictionary.latent_max) for site, x in below(tensors, "recent/").items()
        }
        self.step, self.scales, self.seconds = numbers["step"], numbers["scales"], numbers["seconds"]
        if self.last and self.step > self.last.first:  # its tokens are read again
            before = numbers.get("last", {"at": 0})  # of an older checkpoint all from the beginning
            self.last.begun_at = before["at"]
            self.last.begun = _state_in(tensors, before, "last/") if before["at"] else StreamState()
            self.stream.state = self.last.begun
        self.saved = self.step * self.batch_size
        self.records = read_records(folder / "metrics.jsonl", self.saved)
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        if not processes.first():
            return
        write_atomically(folder / "metrics.jsonl", lambda path: path.write_text(lines, encoding="utf-8"))

    def save(self, folder: Path) -> None:
        """Write a checkpoint in place of the former one. Raises NotWritten, which says what is left."""
        tensors = {f"carried/{site}": x for site, x in self.taken.carried.items()}
        tensors |= {f"recent/{site}": x for site, x in self.recent.items()}
        for number, learner in enumerate(self.learners):
            tensors |= learner.tensors(f"{number}/")
        numbers = {"step": self.step, "scales": self.scales, "seconds": self.seconds} | _numbers_of(self.taken)
        if self.last is not None and self.last.begun is not None:
            tensors |= {f"last/{site}": x for site, x in self.last.begun.carried.items()}
            numbers["last"] = {"at": self.last.begun_at} | _numbers_of(self.last.begun)
        try:
            write_tensors(folder / "checkpoint.safetensors", tensors, numbers)
        except NotWritten as error:
            raise NotWritten(error.file, error.cause, self.left()) from error
        self.saved = self.step * self.batch_size

    def left(self) -> str:
        """What a run that cannot write leaves behind, and what to do."""
        again = "make room there and call train again, which"
        if self.saved is None:
            return f"there is no former checkpoint; {again} begins anew"
        return f"the former checkpoint of {self.saved:,} tokens is kept; {again} goes on from it"

    def keep_last_good(self, folder: Path) -> str:
        """Save the state before a step that failed, and say what there is to go on from. A learner's loss is looked at
        before it steps; where others have stepped already, or weights are not finite, the former checkpoint stays."""
        weights = [p for learner in self.learners for p in learner.dictionary.parameters()]
        if self.step and not self.stepped and all(bool(torch.isfinite(p).all()) for p in weights):
            self.save(folder)
        if self.saved is None:
            return "No checkpoint was written before it."
        file = folder / "checkpoint.safetensors"
        return f"The last good state, of {self.saved:,} tokens, is in {file}; the same call goes on from there."

    def told_of_memory(self, error: BaseException, folder: Path | None) -> str:
        """What would have fitted, and what there is to go on from. Nothing is saved: a step may be half made."""
        said = str(error)
        if not isinstance(error, NotEnoughMemory):
            needed = needed_by(self.learners, self.stream)
            said = would_have_fitted(needed, self.room, self.learners[0].settings.device)
        if folder is None or self.saved is None:
            return said
        file = folder / "checkpoint.safetensors"
        return (
            f"{said} The last checkpoint, of {self.saved:,} tokens, is in {file}; the same call goes on from there "
            "where there is more memory; another batch_size is another run, with an out= of its own."
        )

    def write_records(self, folder: Path, records: list[dict[str, float]]) -> None:
        """Append to metrics.jsonl. Raises NotWritten, which says what is left."""
        try:
            append_lines(folder / "metrics.jsonl", [json.dumps(record) for record in records])
        except NotWritten as error:
            raise NotWritten(error.file, error.cause, self.left()) from error


def _numbers_of(state: StreamState) -> dict[str, int]:
    return {name: getattr(state, name) for name in STATE}


def _state_in(tensors: dict[str, Tensor], numbers: Mapping[str, int], prefix: str) -> StreamState:
    """What a checkpoint holds of one, with the tensors below ``prefix``."""
    found = {name: numbers[name] for name in STATE if name in numbers}
    return StreamState(**found, carried=below(tensors, prefix))
