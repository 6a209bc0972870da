"""Numbers that a notebook's text quotes: they hold at the parameters that it is written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check_quoted(as_written: Any, holds: Any, quoted: str) -> str:
    """Is it as the text says? At other parameters than the notebook's own it may well not be, which is then said.

    as_written: whether the parameters are the notebook's own; quoted: what the text says, a sentence.
    Raises AssertionError where it does not hold and the parameters are the notebook's own."""
    if holds:
        return f"As the text says: {quoted}"
    if as_written:
        raise AssertionError(f"the text says otherwise: {quoted}")
    return f"Not so with these parameters: {quoted}"


def check_here(as_written: Any, check: Callable[..., str], *arguments: Any) -> str:
    """What ``check`` says of an answer about a notebook's own data. Where the parameters are others there may be no
    right answer, so that a diagnosis is said and not raised."""
    try:
        return check(*arguments)
    except AssertionError as error:
        if as_written:
            raise
        return f"With these parameters: {error}"
