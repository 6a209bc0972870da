"""How long and how much, in words, before long work."""

from __future__ import annotations

import time
from collections.abc import Callable

LONG = 30.0  # seconds from which on work is announced


def spoken_duration(seconds: float) -> str:
    """Such as "about 40 seconds", "about 12 minutes", "about 3.5 hours"."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} second{'s' if round(seconds) > 1 else ''}"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    if seconds < 48 * 3600:
        return f"about {seconds / 3600:.1f} hours"
    return f"about {seconds / 86400:.1f} days"


def spoken_bytes(size: float) -> str:
    """Such as "310 MB" or "1.2 GB" (10⁹ bytes)."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= of:
            return f"{size / of:.{0 if size >= 10 * of else 1}f} {unit}"
    return f"{size:.0f} bytes"


class TimeLeft:
    """How long steady work will take, from its first two seconds after the first piece, which warms up."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.clock = total, clock
        self.first: tuple[float, int] | None = None
        self.said = False

    def after(self, done: int) -> float | None:
        """Told how much is done, says once how many seconds are left, as soon as that is known."""
        now = self.clock()
        if self.first is None:
            self.first = now, done
        elapsed, gone = now - self.first[0], done - self.first[1]
        if self.said or elapsed < 2 or not gone:
            return None
        self.said = True
        return max(0, self.total - done) * elapsed / gone
