"""What a run will need, said once at its start when it is long: time, memory beside the model, disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from saekit.files.durations import LONG, spoken_bytes, spoken_duration
from saekit.training.latent_max import LastTokens
from saekit.training.learners import Learner
from saekit.training.sources import Stream

clock: Callable[[], float] = time.monotonic
REMEMBERED = 100  # steps


def learned_bytes(learner: Learner) -> int:
    """Of the parameters that have a gradient."""
    return sum(p.numel() * p.element_size() for p in learner.dictionary.parameters() if p.requires_grad)


def state_bytes(learner: Learner) -> int:
    """Parameters, buffers, the two moments of Adam for each learned number, when each latent fired last and how often
    it does."""
    counted = (*learner.dictionary.state_dict().values(), learner.since_fired, learner.density)
    return sum(x.numel() * x.element_size() for x in counted) + 2 * learned_bytes(learner)


def memory_bytes(learners: Sequence[Learner], stream: Stream, batch_size: int) -> int:
    """At most: the learners' states and gradients; a chunk of activations (float32, twice: its pieces are joined); a
    batch, as it comes and scaled, with the pre-activations and their gradient of the largest dictionary (TopK and
    BatchTopK make a part of them at a time); and of a model's activations the last ones, which are kept."""
    width, chunk = sum(stream.widths.values()), getattr(stream, "chunk_tokens", 0)
    largest = max(learner.dictionary.d_sae for learner in learners)
    item = max(learner.dictionary.latent_max.element_size() for learner in learners)
    states = sum(state_bytes(learner) + learned_bytes(learner) for learner in learners)
    kept = kept_bytes(learners[0], batch_size) if stream.models else 0
    return states + kept + 2 * chunk * width * 4 + 2 * batch_size * (width + largest) * item


def kept_bytes(learner: Learner, batch_size: int) -> int:
    """Of the last activations of a run, of which latent_max is measured."""
    widths, each = learner.dictionary.read_widths, learner.dictionary.wiring.each
    last = LastTokens.of(batch_size, learner.settings.steps, widths, len(widths) if each else 1)
    return last.wanted * (max(widths.values()) if each else sum(widths.values())) * 4


def disk_bytes(learners: Sequence[Learner], stream: Stream, batch_size: int) -> int:
    """At most: a checkpoint (the learners' states, less than a batch of activations, of a model's twice, and the last
    tokens that a method wants to see), and the next one beside it while that is written; the dictionaries that take its
    place at the end are smaller."""
    recent = max(learner.dictionary.method.recent for learner in learners)
    carried = (batch_size * (2 if stream.models else 1) + recent) * sum(stream.widths.values()) * 4
    return 2 * (sum(state_bytes(learner) for learner in learners) + carried)


class Calm:
    """The seconds that are left, from what a step and a chunk of activations took up to now: it neither grows while a
    chunk is read nor falls while its batches are learnt from."""

    def __init__(self, stream: Stream, batch_size: int, step: int, steps: int) -> None:
        chunk_tokens = getattr(stream, "chunk_tokens", None)
        self.in_chunk = max(1.0, chunk_tokens / batch_size) if chunk_tokens else 1.0  # steps
        self.begun, self.step, self.steps = step, step, steps
        self.reading = self.learning = 0.0
        self.last = clock()

    def read(self) -> None:
        """A batch has come."""
        self.reading += self._passed()

    def learnt(self) -> float | None:
        """A step was made: how many seconds are left; None after the first one alone, which warms up."""
        passed, self.step = self._passed(), self.step + 1
        made = self.step - self.begun
        if made == 1:
            return None
        recent = 1 / min(made - 1, REMEMBERED)
        self.learning += recent * (passed - self.learning)
        read, chunks = math.ceil(made / self.in_chunk), math.ceil((self.steps - self.begun) / self.in_chunk)
        return (self.steps - self.step) * self.learning + (chunks - read) * self.reading / read

    def _passed(self) -> float:
        before, self.last = self.last, clock()
        return self.last - before


class Pace:
    """Times the first steps of a run: the first batch waits for a whole chunk of activations, those after it do not."""

    def __init__(self, learners: Sequence[Learner], stream: Stream, batch_size: int) -> None:
        self.learners, self.stream, self.batch_size = learners, stream, batch_size
        self.last, self.said = clock(), False
        self.reading: list[float] = []
        self.learning: list[float] = []

    def read(self) -> None:
        """A batch has come."""
        if not self.said:
            self.reading.append(self._passed())

    def learnt(self, left: int, on_disk: bool) -> str | None:
        """A step was made and ``left`` more are to come. The line to print, once, when ten steps or two seconds of them
        were timed and what is left is long; the first step, which warms up, does not count."""
        if self.said:
            return None
        self.learning.append(self._passed())
        timed, spent = len(self.learning) - 1, sum(self.reading[1:]) + sum(self.learning[1:])
        if timed < 1 or (timed < 10 and spent < 2):
            return None
        self.said = True
        chunk_tokens = getattr(self.stream, "chunk_tokens", None)
        chunks = max(0.0, left * self.batch_size / chunk_tokens - 1) if chunk_tokens else 0.0
        seconds = left * spent / timed + chunks * self.reading[0]
        if seconds < LONG:
            return None
        sizes = (self.learners, self.stream, self.batch_size)
        disk = f", {spoken_bytes(disk_bytes(*sizes))} on disk" if on_disk else ""
        return f"{spoken_duration(seconds)}; {spoken_bytes(memory_bytes(*sizes))} of memory beside the model{disk}"

    def _passed(self) -> float:
        before, self.last = self.last, clock()
        return self.last - before
