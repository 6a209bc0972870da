"""Stopping cleanly: a step is never half made, what was asked for is done soon, and one sentence says what is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SAID = "_render_traceback_"
"""What IPython asks an exception for, to print it in place of a traceback."""


def interrupted(sentence: str) -> KeyboardInterrupt:
    """To be raised by work that Ctrl-C or a notebook's stop button ended and that has nothing to give back; the
    sentence says what is kept. In a notebook it stands alone; a program ends as at any Ctrl-C, exit code and all, which
    a class of its own would not do."""
    error = KeyboardInterrupt(sentence)
    setattr(error, SAID, lambda: [sentence])
    return error


@contextmanager
def stopped_with(sentence: str | Callable[[], str]) -> Iterator[None]:
    """Ctrl-C inside is told with the sentence, or the one that is made then; one that was told already stays."""
    try:
        yield
    except KeyboardInterrupt as error:
        if hasattr(error, SAID):
            raise
        raise interrupted(sentence if isinstance(sentence, str) else sentence()) from None


class Stop:
    """Whether Ctrl-C was pressed while the block ran, which goes on until it looks; pressed again, it ends at once.

    Outside of the main thread, where no signal arrives, it is never so."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Stop:
        self._before = signal.getsignal(signal.SIGINT)
        self._mine = threading.current_thread() is threading.main_thread() and callable(self._before)
        if self._mine:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and callable(self._before):
            self._before(number, frame)
        self.asked = True

    def __exit__(self, *error: object) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, self._before)


@contextmanager
def whole_step() -> Iterator[None]:
    """Ctrl-C or a notebook's stop button waits until the block is done, so that no step is half made."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        before(*received[0])
