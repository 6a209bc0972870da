"""Clocks for features.py on a machine that others use too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE = 60  # looks of two seconds


class Clock:
    """Seconds by part and of the whole, CPU seconds of the whole; `others`: cores that other programs took."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0) + time.perf_counter() - began

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*given, **named)

        return call

    def run(self, function: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
        busy, used, began = cores_busy(), time.process_time(), time.perf_counter()
        found = function()
        wall, used = time.perf_counter() - began, time.process_time() - used
        others = max(0.0, (cores_busy() - busy - used) / wall)
        parts = self.parts | {"everything else": wall - sum(self.parts.values())}
        return found, {"seconds": wall, "cpu_seconds": used, "others": others, "parts": parts}


def cores_busy() -> float:
    """Seconds that all programs have used the cores (Linux)."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:4])
    return (user + nice + system) / 100


def wait_for_quiet(most: float = 0.2) -> None:
    """Until others take little of the cores, or patience ends."""
    for _ in range(PATIENCE):
        busy = cores_busy()
        time.sleep(2)
        if (cores_busy() - busy) / 2 < most:
            return
