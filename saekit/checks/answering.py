"""What a check answers with: a sentence to read, in a notebook and in a script, right or wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


class Sentence(str):
    """Text that is read as it stands: a cell that ends with it shows no quotes and no backslashes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Diagnosis(AssertionError):
    """What is wrong with an answer; a notebook shows the sentence alone, without the lines of the check."""

    def _render_traceback_(self) -> list[str]:
        """IPython asks for it in place of a traceback."""
        return [f"Not yet: {self}"]


def answered(check: Callable[..., str]) -> Callable[..., Sentence]:
    """The check, whose praise is a Sentence and whose diagnosis is a Diagnosis."""

    @wraps(check)
    def answer(*arguments: Any, **keywords: Any) -> Sentence:
        try:
            return Sentence(check(*arguments, **keywords))
        except AssertionError as error:
            if not error.args:  # the answer's own, without a word
                raise
            diagnosis = Diagnosis(*error.args)
        raise diagnosis

    return answer
