"""Numbers as people give them: whole floats and NumPy's are taken, what only looks like a number is one sentence."""

from __future__ import annotations

import math
import operator
from typing import Any

LONGEST = 60  # characters of a value in a sentence


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number as Python's int: 2e3, np.int64(2000) and torch.tensor(2000) are 2000.

    name: the argument's. Raises ValueError for less than ``least``, for parts of one, and TypeError for what is no
    number, both with the value found."""
    wanted = f"{name} is a whole number from {least:,}"
    if isinstance(value, bool | str):
        raise TypeError(f"{wanted}, found {value!r}{_written(value)}.")
    try:
        found = operator.index(value)
    except TypeError:
        try:
            real = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{wanted}, found {brief(value)}.") from None
        if not math.isfinite(real) or real != int(real):
            near = "" if not math.isfinite(real) else f"; the nearest is {max(least, round(real)):,}"
            raise ValueError(f"{wanted}, found {value!r}{near}.") from None
        found = int(real)
    if found < least:
        raise ValueError(f"{name} must be at least {least:,}, found {found:,}.")
    return found


def number(name: str, value: Any, *, above: float | None = None, least: float | None = None) -> float:
    """A number as Python's float. Raises ValueError outside of the bounds and for nan; TypeError for what is none."""
    bound = "" if above is None else f" above {above:g}"
    bound = bound if least is None else f" from {least:g}"
    wanted = f"{name} is a number{bound}"
    if isinstance(value, bool | str):
        raise TypeError(f"{wanted}, found {value!r}{_written(value)}.")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{wanted}, found {brief(value)}.") from None
    if math.isnan(found) or (above is not None and not found > above) or (least is not None and found < least):
        raise ValueError(f"{wanted}, found {value!r}.")
    return found


def _written(value: Any) -> str:
    """What a string would be as a number."""
    if isinstance(value, str):
        try:
            found = float(value.replace("_", "").replace(",", ""))
            return f", a string: write {int(found) if found == int(found) else found!r}"
        except (ValueError, OverflowError):
            return ", a string"
    return ""


def brief(value: Any) -> str:
    """A value in a few words on one line, and what it is where that is not plain to see."""
    text = " ".join(repr(value).split())
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return text if isinstance(value, str | int | float) else f"{text} (a {type(value).__name__})"
