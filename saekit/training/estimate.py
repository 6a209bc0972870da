"""What a run will need, said once at its start when it is long: time, memory beside the model, disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from saekit.files.durations import LONG, spoken_bytes, spoken_duration

if TYPE_CHECKING:
    from saekit.training.learners.learner import Learner
    from saekit.training.session import Session

clock: Callable[[], float] = time.monotonic


def learned_bytes(learner: Learner) -> int:
    return sum(p.numel() * p.element_size() for p in learner.dictionary.parameters() if p.requires_grad)


def state_bytes(learner: Learner) -> int:
    """Parameters, buffers, the two moments of Adam for each learned number, when each latent fired last and how often
    it does."""
    counted = (*learner.dictionary.state_dict().values(), learner.since_fired, learner.density)
    return sum(x.numel() * x.element_size() for x in counted) + 2 * learned_bytes(learner)


def memory_bytes(session: Session) -> int:
    """At most: the learners' states and gradients; a chunk of activations (float32, twice: its pieces are joined); a
    batch, as it comes and scaled, with the pre-activations and their gradient of the largest dictionary (TopK and
    BatchTopK make a part of them at a time)."""
    width, chunk = sum(session.stream.widths.values()), getattr(session.stream, "chunk_tokens", 0)
    largest = max(learner.dictionary.d_sae for learner in session.learners)
    item = max(learner.dictionary.latent_max.element_size() for learner in session.learners)
    states = sum(state_bytes(learner) + learned_bytes(learner) for learner in session.learners)
    return states + 2 * chunk * width * 4 + 2 * session.batch_size * (width + largest) * item


def disk_bytes(session: Session) -> int:
    """At most: a checkpoint (the learners' states and less than a batch of activations), and the next one beside it
    while that is written; the dictionaries that take its place at the end are smaller."""
    carried = session.batch_size * sum(session.stream.widths.values()) * 4
    return 2 * (sum(state_bytes(learner) for learner in session.learners) + carried)


class Pace:
    """Times the first steps of a run: the first batch waits for a whole chunk of activations, those after it do not."""

    def __init__(self, session: Session) -> None:
        self.session, self.last, self.said = session, clock(), False
        self.reading: list[float] = []
        self.learning: list[float] = []

    def read(self) -> None:
        """A batch has come."""
        self.reading.append(self._passed())

    def learnt(self, on_disk: bool) -> str | None:
        """A step was made. The line to print, once, when ten steps or two seconds of them were timed and what is left
        is long; the first step, which warms up, does not count."""
        self.learning.append(self._passed())
        timed, spent = len(self.learning) - 1, sum(self.reading[1:]) + sum(self.learning[1:])
        if self.said or timed < 1 or (timed < 10 and spent < 2):
            return None
        self.said = True
        session, left = self.session, self.session.steps - self.session.step
        chunk_tokens = getattr(session.stream, "chunk_tokens", None)
        chunks = max(0.0, left * session.batch_size / chunk_tokens - 1) if chunk_tokens else 0.0
        seconds = left * spent / timed + chunks * self.reading[0]
        if seconds < LONG:
            return None
        disk = f", {spoken_bytes(disk_bytes(session))} on disk" if on_disk else ""
        return f"{spoken_duration(seconds)}; {spoken_bytes(memory_bytes(session))} of memory beside the model{disk}"

    def _passed(self) -> float:
        before, self.last = self.last, clock()
        return self.last - before
