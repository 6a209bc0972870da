"""Ahead: the next chunk is read in a thread of its own while the present one is trained on.

torch lets go of Python's lock while it works, so that a model and a learner run side by side; on a GPU the thread has a
CUDA stream of its own. What is read is the same as in turn. An error in the thread is raised where the chunk is asked
for, and no thread is left once the iteration is closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

From = TypeVar("From")
Made = TypeVar("Made")


class Stopped(Exception):
    """What was being read is wanted no more."""


class Ahead(Generic[From, Made]):
    """make: reads what begins there; it looks now and then whether the event is set, and raises Stopped.

    device: the one that trains."""

    def __init__(self, make: Callable[[From, threading.Event], Made], device: torch.device) -> None:
        self.make, self.device = make, device
        self.stop = threading.Event()
        self._pool: ThreadPoolExecutor | None = None
        self._side: torch.cuda.Stream | None = None
        self._begun: Future[Made] | None = None

    def begin(self, start: From) -> None:
        """Begin to read what will be asked for next."""
        if self._pool is None:
            # torch counts its threads for each of Python's: as many as here, or else sums would have other last bits.
            threads = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(1, "saekit-reads-ahead", torch.set_num_threads, (threads,))
            self._side = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        if self._side is not None:  # memory that is used again may still be read by what was queued before
            self._side.wait_stream(torch.cuda.current_stream(self.device))
        self._begun = self._pool.submit(self._beside, start)

    def given(self, start: From) -> Made:
        """What was begun, once it is there; where nothing was, it is read now."""
        begun, self._begun = self._begun, None
        return self.make(start, self.stop) if begun is None else begun.result()

    def close(self) -> None:
        """End the thread, in the middle of its work too."""
        self.stop.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _beside(self, start: From) -> Made:
        if self._side is None:
            return self.make(start, self.stop)
        with torch.cuda.stream(self._side):
            made = self.make(start, self.stop)
        self._side.synchronize()
        return made
