"""Progress of long work, in one place: a bar with a calm time left, and what work has to say of itself.

Both go where a person looks: in a notebook under the cell, in a script to stderr, so that stdout holds results alone.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from tqdm.std import tqdm

MEMORY = 60.0  # seconds after which what was measured counts 1/e
SHOWN_AFTER = 2.0  # seconds of work from which on a bar is drawn


def stream() -> TextIO:
    """stdout where a notebook's kernel shows it under the cell, else stderr."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.stdout if getattr(shell, "kernel", None) is not None else sys.stderr


def say(sentence: str) -> None:
    """One line of what work says of itself; a bar that is drawn moves down for it."""
    tqdm.write(sentence, file=stream())


class Rate:
    """Work done a second, of the last minute mostly: a mean over time, so that pauses between quick stretches
    count as much as they last."""

    def __init__(self, done: float = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.last, self.done = clock, clock(), done
        self.work = self.seconds = 0.0

    def at(self, done: float) -> float | None:
        """Told how much is done by now: units a second, or None where nothing was done yet."""
        now = self.clock()
        passed, self.last = now - self.last, now
        kept = math.exp(-passed / MEMORY)
        self.work = self.work * kept + done - self.done
        self.seconds = self.seconds * kept + passed
        self.done = done
        return self.work / self.seconds if self.work > 0 and self.seconds > 0 else None


class Bar(tqdm):
    """tqdm's, on the stream above, with the time left by ``Rate``, or by ``left``, the seconds that whoever knows
    better says (nan: not known yet). Done to its end it is full; not so where ``stopped`` was set, or after an error.
    """

    def __init__(self, *given: Any, delay: float = SHOWN_AFTER, **settings: Any) -> None:
        self.left: float | None = None
        self.stopped = False
        self.rate = Rate(settings.get("initial", 0))
        super().__init__(*given, file=stream(), delay=delay, dynamic_ncols=True, **settings)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What a line is made of; the rate is that with which the work that is left takes as long as is left."""
        found = super().format_dict
        rate, work = self.rate.at(self.n), (self.total or 0) - self.n
        if self.left is not None and work > 0:
            rate = work / self.left if self.left > 0 else 0  # 0: tqdm says "?"
        return found | {"rate": rate}

    def __exit__(self, kind: Any, *error: Any) -> None:
        """What was estimated is known now."""
        if kind is None and not self.stopped and self.n and (self.total or 0) > 0:
            self.total: float = self.n
        super().__exit__(kind, *error)
