"""Session: one pass over the activations that one or several learners share; resumable at any batch."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saekit.activations import ShuffledStream
from saekit.dictionaries import Dictionary, Wiring
from saekit.engines import processes
from saekit.engines.threads import products_of, some_left, threads_for
from saekit.files import whole_step
from saekit.files.memory import NotEnoughMemory, Room, ran_out
from saekit.files.progress import Bar, say
from saekit.objectives import Batch
from saekit.training.batches import as_batch, constant, first_scales, joined_batches
from saekit.training.estimate import Calm, Pace, Speed
from saekit.training.latent_max import LastTokens
from saekit.training.learners import FitLearner, Learner
from saekit.training.on_disk import OnDisk
from saekit.training.run import Progress
from saekit.training.sources import Stream

CHECKPOINT_SECONDS = 60.0
QUICK_SAVE = 1.2
"""seconds: where saving takes longer, checkpoints are as much rarer, so that they take 2 % of the time at most."""
VARIED_TOKENS = 4096


class Session(OnDisk):
    """Learners and the stream they share, how far they are, and what was measured."""

    def __init__(
        self,
        stream: Stream,
        learners: list[Learner],
        tokens: int,
        batch_size: int,
        seed: int,
        room: Room | None = None,
    ) -> None:
        self.stream, self.learners = stream, learners
        self.wiring: Wiring = learners[0].dictionary.wiring
        self.tokens, self.batch_size, self.seed = tokens, batch_size, seed
        self.steps = max(1, tokens // batch_size)
        self.room = room  # what the device had left before
        self.step, self.seconds = 0, 0.0
        self.seconds_left: float | None = None  # an estimate
        self.scales: dict[str, float] = {}  # by site, from the first batch
        self.taken = stream.state  # where the stream stood after the last whole step
        self.wanted = max(learner.dictionary.method.recent for learner in learners)
        self.recent: dict[str, Tensor] = {}  # by site, the last tokens, for methods that look at them in the end
        last = LastTokens.of_run(learners[0].dictionary, batch_size, self.steps)
        self.last = last if stream.models else None  # an array and a store are there in the end too
        self.records: list[dict[str, float]] = []
        self.saved: int | None = None  # tokens of the checkpoint on the disk
        of_models = [products_of(model) for model in (stream.models or {}).values()]
        widest = max(learner.dictionary.method.d_sae for learner in learners)
        of_learners = batch_size * sum(stream.widths.values()) * widest
        self.threads = threads_for(max([of_learners, *of_models]), learners[0].settings.device)
        self.beside = self._can_read_beside()
        self.passes: AbstractContextManager[Any] = threading.RLock() if self.beside else nullcontext()
        self.speed = Speed()
        self.stepped = 0  # learners that have made the present step, before the one whose turn it is

    def _can_read_beside(self) -> bool:
        """Whether the next chunk is read while this one is trained on. It is not where training runs the same model,
        where processes exchange what they read, and where there is no thread for it."""
        needs = frozenset[str]().union(*[learner.dictionary.method.needs for learner in self.learners])
        if not isinstance(self.stream, ShuffledStream) or "models" in needs or processes.count() > 1:
            return False
        return some_left(self.threads, self.learners[0].settings.device)

    def run(self, folder: Path | None, callback: Callable[[Progress], Any] | None) -> bool:
        """Train to the end; False when it was interrupted, with a checkpoint left behind. Of processes that train
        together the first writes and speaks."""
        if not processes.first():
            folder, callback = None, lambda progress: None
        done = self.step * self.batch_size
        bar = Bar(
            total=self.tokens,
            initial=done,
            desc="train",
            unit=" token",
            unit_scale=True,
            delay=0,
            disable=callback is not None,
        )
        try:
            with bar:
                self._make_steps(folder, callback, bar)
        except KeyboardInterrupt:
            if folder is not None:
                self.save(folder)
            self._tell_stopped(folder, callback)
            return False
        except ValueError as error:  # the loss, or activations, are not finite
            if folder is None:
                raise
            raise ValueError(f"{error} {self.keep_last_good(folder)}") from error
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            said = self.told_of_memory(error, folder)
            traceback.clear_frames(error.__traceback__)  # a notebook keeps the traceback, and so what the step held
            self.learners.clear()
            raise NotEnoughMemory(said) from error
        return True

    def _tell_stopped(self, folder: Path | None, callback: Callable[[Progress], Any] | None) -> None:
        """Say it once, with the count that the run, its records and a monitor have."""
        if not processes.first():
            return
        goes_on = "the same call goes on" if folder is not None else "the dictionary is kept"
        sentence = f"stopped at {self.step * self.batch_size:,} of {self.tokens:,} tokens; {goes_on}"
        if callback is not None:
            with suppress(KeyboardInterrupt):  # one that stops the run by itself need not do so again
                callback(replace(self.progress({}, False), stopped=sentence))
        say(f"{sentence}.")

    def _make_steps(self, folder: Path | None, callback: Callable[[Progress], Any] | None, bar: Bar) -> None:
        """All that are left, with a checkpoint now and then and one at the end: what follows may be stopped too."""
        if self.beside and isinstance(self.stream, ShuffledStream):
            self.stream.ahead, self.stream.passes = self.steps - self.read_from, self.passes
        self.speed = Speed()
        with closing(self.speed.batches(self.stream)) as batches:
            self._read_again(batches)
            self.speed.told()
            saved, cost = time.monotonic(), 0.0
            began = saved - self.seconds
            pace = Pace(self.learners, self.stream, self.batch_size)
            calm = Calm(self.stream, self.batch_size, self.step, self.steps)
            for batch in batches if self.step < self.steps else ():
                pace.read()
                calm.read()
                measured = self._make_step(batch, began, folder)
                self.seconds_left = calm.learnt()
                bar.left = math.nan if self.seconds_left is None else self.seconds_left
                bar.update(self.batch_size)
                line = pace.learnt(self.steps - self.step, on_disk=folder is not None)
                if line is not None and processes.first():
                    say(line)
                if measured:
                    bar.set_postfix_str(f"waiting {self.records[-1]['waited']:.0%}", refresh=False)
                if measured and callback is not None:
                    with self.passes:  # it may run the model, with edits even
                        callback(self.progress(measured[0], self.step >= self.steps))
                if self.step >= self.steps:
                    break
                if folder is not None and (now := time.monotonic()) - saved > between_checkpoints(cost):
                    self.save(folder)
                    saved = time.monotonic()
                    cost = saved - now
        if folder is not None:
            self.save(folder)

    @property
    def read_from(self) -> int:
        """The step from which on the stream gives batches: the next one, or before it where some are read again."""
        again = self.last is not None and self.last.begun is not None
        return min(self.step, self.last.begun_at) if again and self.last else self.step

    def _read_again(self, batches: Iterator[Any]) -> None:
        """Of a resumed run the tokens before it that are kept for latent_max."""
        if self.last is None or self.last.begun is None:
            return
        again = range(self.read_from, self.step)
        bar = Bar(again, "read again", leave=False, unit=" batch", disable=not processes.first())
        for step in bar:
            taken = next(batches)
            if step >= self.last.first:
                self.last.add(step, self.batch(taken).flat().reads)

    def _make_step(self, batch: Any, began: float, folder: Path | None) -> list[dict[str, float]]:
        """One step and its records, whole even where it is interrupted; measured a hundred times in a run."""
        every = max(1, self.steps // 100)
        if self.last is not None:
            self.last.begin(self.step, self.taken)
        with whole_step():
            measured = self.update(batch, self.step % every == 0 or self.step + 1 == self.steps)
            self.step, self.taken = self.step + 1, self.stream.state
            if self.step == self.steps:
                measured = [each | worse_than_mean(each) for each in measured]
            self.seconds = time.monotonic() - began
            self.speed.learnt(self.batch_size)
            self.records += self.named(measured)
            if folder is not None and measured:
                self.write_records(folder, self.records[-len(measured) :])
        return measured

    def update(self, taken: Any, measure: bool) -> list[dict[str, float]]:
        """One step of every learner; a measurement of each when they are asked for."""
        batch = self.batch(taken)
        if not self.scales:  # the first batch says how large activations are
            self.scales = first_scales(self.varied(batch), self.wiring)
            for learner in self.learners:
                sample = self.sample(learner.dictionary.method.sample)
                learner.initialise(batch if sample is None else sample, self.scales)
                learner.check_foldable(batch, self.scales)
        measured = []
        for number, learner in enumerate(self.learners):
            self.stepped = number
            measured.append(learner.update(batch, self.scales, self.step, measure))
        self.stepped = 0
        if self.wanted:
            self._remember(batch.flat())
        if self.last is not None:
            self.last.add(self.step, batch.flat().reads)
        return [numbers for numbers in measured if numbers is not None]

    def batch(self, taken: Any) -> Batch:
        """What the stream gave, on the learners' device and in their precision."""
        wanted = any("models" in learner.dictionary.method.needs for learner in self.learners)
        models = self.stream.models if wanted else None
        return as_batch(taken, self.wiring, self._like(), models)

    def _like(self) -> Tensor:
        return self.learners[0].dictionary.latent_max

    def _remember(self, batch: Batch) -> None:
        """Keep the last tokens, as many as are wanted."""
        for site, x in (dict(batch.reads) | dict(batch.writes)).items():
            before = [self.recent[site]] if site in self.recent and len(x) < self.wanted else []
            self.recent[site] = torch.cat([*before, x])[-self.wanted :]

    def varied(self, batch: Batch) -> Batch:
        """The first batch, or where all of its tokens are the same more of them."""
        fits = all(isinstance(learner, FitLearner) for learner in self.learners)  # they scale nothing
        if fits or not all(map(constant, batch.flat().reads.values())):
            return batch
        return self.sample(VARIED_TOKENS) or batch

    def sample(self, tokens: int) -> Batch | None:
        """The first tokens of the stream, read for themselves, so that a resumed run trains on what it would have."""
        if not tokens:
            return None
        again, count = self.stream.anew(), max(1, -(-tokens // self.batch_size))
        taken = [batch for batch, _ in zip(again, range(count), strict=False)]
        return self.batch(joined_batches(taken))

    def named(self, measured: list[dict[str, float]]) -> list[dict[str, float]]:
        """Records: with tokens, seconds and speed, and the dictionary's number where there are several."""
        if not measured:
            return []
        head = {"tokens": self.step * self.batch_size, "seconds": round(self.seconds, 3)} | self.speed.told()
        if self.stream.left_out:
            head["left_out"] = self.stream.left_out
        if len(self.learners) == 1:
            return [head | numbers for numbers in measured]
        return [head | {"dictionary": number} | numbers for number, numbers in enumerate(measured)]

    def progress(self, measured: dict[str, float], finished: bool) -> Progress:
        """What a callback is told."""
        done, last = self.step * self.batch_size, self.records[-1] if self.records else {}
        return Progress(
            done,
            done if finished else self.tokens,
            self.seconds,
            measured,
            finished,
            self.seconds_left,
            latents=self.learners[0].dictionary.d_sae,
            tokens_per_second=last.get("tokens_per_second", 0.0),
            waited=last.get("waited", 0.0),
        )

    def folded(self) -> list[Dictionary]:
        """The dictionaries for activations as the model gives them."""
        tokens = self.step * self.batch_size
        if self.recent:
            reads, writes = (
                {s: x for s, x in self.recent.items() if s in some} for some in (self.wiring.reads, self.wiring.writes)
            )
            for learner in self.learners:
                learner.finalise(Batch(reads, writes), self.scales, self.step)
        return [learner.folded(self.scales, self.stream.provenance, tokens) for learner in self.learners]


def worse_than_mean(measured: dict[str, float]) -> dict[str, float]:
    """An entry for the last record where the mean of the activations would reconstruct better."""
    return {"worse_than_mean": 1.0} if measured["explained_variance"] < 0 else {}


def between_checkpoints(cost: float) -> float:
    """Seconds from one to the next, where the last took `cost` seconds."""
    return CHECKPOINT_SECONDS * max(1.0, cost / QUICK_SAVE)
