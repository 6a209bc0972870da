"""What was given where only some values are known: one sentence that offers the closest."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
FEW = 20  # so many are all listed


def unknown(what: str, given: Any, known: Collection[Any]) -> str:
    """Such as "there is no split 'held_out'; the closest is 'heldout' (of train, heldout)." ``what`` begins it."""
    given = str(given) if isinstance(given, str) else given  # a Site says how it is read
    return f"{what} {given!r}; {offered(given, known)}."


def offered(given: Any, known: Collection[Any]) -> str:
    """Such as "the closest is 'heldout' (of train, heldout)"; all are named where they are few."""
    names = [str(name) for name in known]
    if not names:
        return "there is none"
    if len(names) == 1:
        return f"the only one is {names[0]!r}"
    all_of_them = f" (of {', '.join(names)})" if len(names) <= FEW else ""
    return f"the closest is {closest(given, names)!r}{all_of_them}"


def closest(given: Any, known: Collection[str], similar: float = 0.0) -> str | None:
    """The most similar of the names by difflib's ratio; None where none is so ``similar`` (0 to 1)."""
    return next(iter(difflib.get_close_matches(str(given), known, 1, similar)), None)


def checked(what: str, given: T, known: Collection[Any]) -> T:
    """What was given, where it is known. Raises ValueError naming the closest: ``what`` is the argument's name."""
    if not isinstance(given, str) or given not in known:
        raise ValueError(unknown(f"{what} cannot be", given, known))
    return given


def no_argument(who: str, given: str, known: Collection[str], meant: Mapping[str, str]) -> str:
    """Such as "train takes no learning_rate=: it is called lr= here."

    meant: names that are used elsewhere, and what they are here: another name, or words."""
    said = meant.get(given)
    here = said if said in known or " " in (said or "") else closest(given, known, 0.6)
    if here is None:
        return f"{who} takes no {given}=; it takes {', '.join(known)}."
    called = f"it is called {here}= here" if here in known else here
    return f"{who} takes no {given}=: {called}."
