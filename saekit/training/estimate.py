"""What a run will need, said once at its start when it is long: time, memory beside the model, disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from saekit.files.durations import LONG, spoken_bytes, spoken_duration
from saekit.files.memory import room_on
from saekit.training.learners import Learner
from saekit.training.memory import MOST, MemoryNeeded, of_run
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


def disk_bytes(learners: Sequence[Learner], stream: Stream, batch_size: int) -> int:
    """At most: a checkpoint (the learners' states, less than a batch of activations, of a model's twice, and the last
    tokens that a method wants to see), and the next one beside it while that is written; the dictionaries that take its
    place at the end are smaller."""
    recent = max(learner.dictionary.method.recent for learner in learners)
    carried = (batch_size * (2 if stream.models else 1) + recent) * sum(stream.widths.values()) * 4
    return 2 * (sum(state_bytes(learner) for learner in learners) + carried)


class Speed:
    """What a run says of its speed with each record: over the time since the one before, the tokens a second, and the
    share of that time for which training waited for activations."""

    def __init__(self) -> None:
        self.since, self.tokens, self.waiting = clock(), 0, 0.0

    def batches(self, stream: Any) -> Generator[Any, None, None]:
        """Those of the stream, whose reading is timed; closed with this one."""
        with closing(iter(stream)) as taken:
            while True:
                begun = clock()
                batch = next(taken, None)
                self.waiting += clock() - begun
                if batch is None:
                    return
                yield batch

    def learnt(self, tokens: int) -> None:
        """So many tokens were trained on."""
        self.tokens += tokens

    def told(self) -> dict[str, float]:
        """tokens_per_second, and waited, from 0 to 1; what comes after counts anew."""
        now = clock()
        passed, waiting, tokens = max(now - self.since, 1e-9), self.waiting, self.tokens
        self.since, self.tokens, self.waiting = now, 0, 0.0
        return {"tokens_per_second": round(tokens / passed, 1), "waited": round(min(waiting / passed, 1.0), 4)}


def needed_by(learners: Sequence[Learner], stream: Stream) -> MemoryNeeded:
    """What a run that has begun needs, told of its largest dictionary."""
    dictionaries = [learner.dictionary for learner in learners]
    methods = [dictionary.method for dictionary in dictionaries]
    return of_run(methods, dictionaries, learners[0].settings, stream)


class Calm:
    """The seconds that are left, from what a step and a chunk of activations took up to now: it neither grows while a
    chunk is read nor falls while its batches are learnt from."""

    def __init__(self, stream: Stream, batch_size: int, step: int, steps: int) -> None:
        chunk_tokens = getattr(stream, "chunk_tokens", None)
        self.in_chunk = max(1.0, chunk_tokens / batch_size) if chunk_tokens else 1.0  # steps
        self.ahead, self.first = bool(getattr(stream, "ahead", 0)), 0.0
        self.begun, self.step, self.steps = step, step, steps
        self.reading = self.learning = 0.0
        self.last = clock()

    def read(self) -> None:
        """A batch has come."""
        self.reading += self._passed()
        self.first = self.first or self.reading

    def learnt(self) -> float | None:
        """A step was made: how many seconds are left; None after the first one alone, which warms up."""
        passed, self.step = self._passed(), self.step + 1
        made = self.step - self.begun
        if made == 1:
            return None
        recent = 1 / min(made - 1, REMEMBERED)
        self.learning += recent * (passed - self.learning)
        read, chunks = math.ceil(made / self.in_chunk), math.ceil((self.steps - self.begun) / self.in_chunk)
        waiting = self.reading / read
        if self.ahead and read > 1:
            waiting = (self.reading - self.first) / (read - 1)  # all but the first are read beside the training
        elif self.ahead:
            waiting = max(0.0, self.first - self.in_chunk * self.learning)
        return (self.steps - self.step) * self.learning + (chunks - read) * waiting

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
        step, waiting = spent / timed, self.reading[0]
        if chunk_tokens and getattr(self.stream, "ahead", 0):  # chunks are read while steps are made
            waiting = max(0.0, waiting - step * chunk_tokens / self.batch_size)
        seconds = left * step + chunks * waiting
        if seconds < LONG:
            return None
        needed, settings = needed_by(self.learners, self.stream), self.learners[0].settings
        disk = f", {spoken_bytes(disk_bytes(self.learners, self.stream, self.batch_size))} on disk" if on_disk else ""
        room = room_on(settings.device)
        most = 0 if room is None else needed.largest_d_sae(MOST * (room.free + needed.total))
        fits = f"; up to d_sae={most:,} would fit" if most else ""
        return f"{spoken_duration(seconds)}; {spoken_bytes(needed.total)} of memory beside the model{disk}{fits}"

    def _passed(self) -> float:
        before, self.last = self.last, clock()
        return self.last - before
