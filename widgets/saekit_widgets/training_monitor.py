"""TrainingMonitor: progress, rate, and live curves of a training run, as its callback."""

from __future__ import annotations

import math
import pathlib
import struct
import time
from typing import Any

import traitlets

from saekit_widgets.base import AGAIN, Widget, in_notebook, new_name
from saekit_widgets.picture import training_picture
from saekit_widgets.protocols import TrainingProgress

CURVES = ("loss", "explained_variance")
MOST_ROWS = 1000  # of the history; beyond, two become one
UPDATES_PER_SECOND = 4
SECONDS_A_CARD = 10.0  # for a run whose kernel goes away


class TrainingMonitor(Widget):
    """Watches a training run: `sk.train(…, callback=sk.TrainingMonitor())`.

    Call it with a `TrainingProgress` as often as you like; it redraws at most four times a second. In a notebook the
    first call displays it. The saved notebook shows a picture without a kernel: of the end, or of the last ten seconds
    of a run whose kernel went away. Outside a notebook it draws nothing.

    There is no Stop button, since a busy kernel does not read what the browser sends: use the notebook's own (■), which
    interrupts the training cleanly. All traits are for reading: `tokens`, `total_tokens`, `seconds`,
    `tokens_per_second`, `waited` (the share of the time for which training waited for activations, 0 to 1; −1 where it
    is not known), `seconds_left` (−1 likewise), `metrics`, `latents`, `finished`, `stopped` (what is
    said of a run that was stopped, else ""), and `error`, which says what went wrong in the browser.
    """

    _esm = pathlib.Path(__file__).parent / "static" / "training_monitor.js"

    tokens = traitlets.Int(0).tag(sync=True)
    total_tokens = traitlets.Int(0).tag(sync=True)
    seconds = traitlets.Float(0.0).tag(sync=True)
    tokens_per_second = traitlets.Float(0.0).tag(sync=True)
    waited = traitlets.Float(-1.0).tag(sync=True)
    seconds_left = traitlets.Float(-1.0).tag(sync=True)
    metrics = traitlets.Dict().tag(sync=True)
    latents = traitlets.Int(0).tag(sync=True)  # of which `dead` counts some, where progress has it
    finished = traitlets.Bool(False).tag(sync=True)
    stopped = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[float, ...]] = []
        self._stride, self._calls = 1, 0
        self._began: tuple[int, float] | None = None  # tokens and seconds at the first call: a resumed run has some
        self._waiting: float | None = None  # seconds since then
        self._last = 0.0  # seconds at the latest call
        self._drawn = -math.inf
        self._shown, self._carded = False, -math.inf  # in a notebook; when its card was drawn last
        self.on_msg(self._answer)

    def __call__(self, progress: TrainingProgress) -> None:
        """Take note of where the run stands, and show it."""
        if self._began is None or self._ended:  # the first call, or another run with the same monitor
            self._begin(progress)
        self._remember(progress)
        self._wait(progress)
        now = time.monotonic()
        ends = progress.finished or bool(getattr(progress, "stopped", ""))
        if not ends and now - self._drawn < 1 / UPDATES_PER_SECOND:
            return
        self._drawn = now
        self._show(progress)
        if self._shown and (ends or now - self._carded >= SECONDS_A_CARD):
            self._carded = now
            self._publish_card(update=True)

    @property
    def _ended(self) -> bool:
        return self.finished or bool(self.stopped)

    def _begin(self, progress: TrainingProgress) -> None:
        self._rows, self._stride, self._calls = [], 1, 0
        self._began, self._drawn = (progress.tokens, progress.seconds), -math.inf
        self._last, self._waiting = progress.seconds, None
        self.finished, self.stopped = False, ""
        self.error = ""
        self._show(progress)
        if self._shown:  # where the run before this one was shown, its card stays
            self._live = new_name()
        self._shown, self._carded = in_notebook(), time.monotonic()
        if self._shown:
            self._ipython_display_()

    def _wait(self, progress: TrainingProgress) -> None:
        """Add up for how long training waited; it is told of the time since the last call."""
        passed, self._last = progress.seconds - self._last, progress.seconds
        share = getattr(progress, "waited", None)
        if share is not None and passed > 0:
            self._waiting = (self._waiting or 0.0) + share * passed

    def _remember(self, progress: TrainingProgress) -> None:
        measured = _measured(progress)
        row = tuple(measured.get(name, math.nan) for name in CURVES)
        if not any(math.isfinite(value) for value in row):
            return
        row = (float(progress.tokens), *row)
        # The closing call repeats the last step; a long run keeps one row for every `_stride` calls.
        if self._rows and (self._calls % self._stride or self._rows[-1][0] == row[0]):
            self._rows[-1] = _merged([self._rows[-1], row])
        else:
            self._rows.append(row)
        self._calls += 1
        if len(self._rows) > MOST_ROWS:
            self._rows = [_merged(self._rows[i : i + 2]) for i in range(0, len(self._rows), 2)]
            self._stride, self._calls = 2 * self._stride, 1

    def _show(self, progress: TrainingProgress) -> None:
        assert self._began is not None
        tokens, seconds = progress.tokens - self._began[0], progress.seconds - self._began[1]
        with self.hold_sync():
            self.tokens, self.total_tokens = int(progress.tokens), int(progress.total_tokens)
            self.seconds = float(progress.seconds)
            self.tokens_per_second = tokens / seconds if seconds > 0 else 0.0
            self.waited = -1.0 if self._waiting is None or seconds <= 0 else min(self._waiting / seconds, 1.0)
            # What was not measured this time keeps its last value.
            self.metrics = {**(self.metrics if self._rows else {}), **_measured(progress)}
            self.latents = int(getattr(progress, "latents", 0))
            left = getattr(progress, "seconds_left", None)
            self.seconds_left = -1.0 if left is None else float(left)
            self.finished, self.stopped = bool(progress.finished), str(getattr(progress, "stopped", ""))
        self.send({"kind": "history"}, buffers=[self._history()])

    def _history(self) -> bytes:
        rows = list(self._rows)
        return struct.pack(f"<{len(rows) * (1 + len(CURVES))}d", *(value for row in rows for value in row))

    def _answer(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        """A view asks; it always gets an answer with its id."""
        if content.get("kind") == "history":
            self.send({"kind": "history", "id": content.get("id")}, buffers=[self._history()])
        else:
            message = f"TrainingMonitor does not know the message {content.get('kind')!r}; it knows history."
            self.send({"kind": "error", "id": content.get("id"), "message": message})

    def _note(self) -> str:
        return "" if self.finished else AGAIN

    def _saved(self) -> str:
        return training_picture(
            rows=list(self._rows),
            curves=CURVES,
            tokens=self.tokens,
            total_tokens=self.total_tokens,
            seconds=self.seconds,
            tokens_per_second=self.tokens_per_second,
            waited=self.waited,
            metrics=dict(self.metrics),
            latents=self.latents,
            finished=self.finished,
            stopped=self.stopped,
        )

    def __repr__(self) -> str:
        if self.stopped:
            return f"<TrainingMonitor: {self.stopped}>"
        state = "finished" if self.finished else "running" if self._began else "not started"
        return f"<TrainingMonitor: {state}, {self.tokens:,} of {self.total_tokens:,} tokens>"


def _measured(progress: TrainingProgress) -> dict[str, float]:
    """The metrics that are numbers now; JSON knows no nan."""
    numbers = {name: float(value) for name, value in progress.metrics.items() if value is not None}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _merged(rows: list[tuple[float, ...]]) -> tuple[float, ...]:
    """One row for several: of each column the last number, so that what is measured rarely is not lost."""
    columns = zip(*rows, strict=True)
    return tuple(next((value for value in reversed(column) if math.isfinite(value)), math.nan) for column in columns)
