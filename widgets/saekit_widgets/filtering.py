"""What a browser may be given: a filter and a sorting of the list, the number of a latent.

The source of features applies them, and the page (filtering.js)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

TEXTS = ("search", "concept")
SWITCHES = ("starred", "dead")


def checked_filter(
    given: Mapping[str, Any], ranges: Mapping[str, Sequence[str]], concepts: Sequence[str]
) -> dict[str, Any]:
    """The filter without what filters nothing. ranges: the columns that it may have, with what their whole numbers are
    called where they have names: such a name stands for its number.

    Raises ValueError for what it cannot be, naming the nearest."""
    if not isinstance(given, Mapping):
        raise ValueError(f'filter is a dict, as {{"{next(iter(ranges))}": [low, high]}}; it is not {given!r}.')
    checked: dict[str, Any] = {}
    for key, value in given.items():
        if key in ranges:
            checked[key] = _range(key, value, ranges[key])
        elif key in TEXTS:
            if not isinstance(value, str):
                raise ValueError(f"filter[{key!r}] is text, not {value!r}.")
            checked[key] = value
        elif key in SWITCHES:
            if not isinstance(value, bool):
                raise ValueError(f"filter[{key!r}] is True or False, not {value!r}.")
            checked[key] = value
        else:
            raise ValueError(unknown("filter", key, (*ranges, *TEXTS, *SWITCHES)))
    concept = checked.get("concept")
    if concept and concept not in concepts:
        raise ValueError(unknown("concept", concept, concepts))
    return {key: value for key, value in checked.items() if value is not False and value != ""}


def checked_sort(given: Any, columns: Sequence[str]) -> list[Any] | None:
    """[column or "latent", descending], or None for the usual order. Raises ValueError for what it cannot be, naming
    the nearest."""
    if given is None:
        return None
    value = list(given) if isinstance(given, Iterable) and not isinstance(given, str | Mapping) else []
    if len(value) != 2 or not isinstance(value[1], bool):
        named = given if isinstance(given, str) else value[0] if value else None
        near = named if named in ("latent", *columns) else columns[1]
        raise ValueError(f'sort is [column, descending], as ["{near}", True]; it is not {given!r}.')
    if value[0] not in ("latent", *columns):
        raise ValueError(unknown("sort", value[0], ("latent", *columns)))
    return value


def _range(key: str, value: Any, names: Sequence[str]) -> list[float | None]:
    if names and isinstance(value, str):
        if value not in names:
            raise ValueError(unknown(f"filter[{key!r}]", value, names))
        return [float(names.index(value))] * 2
    plain = isinstance(value, Real) and not isinstance(value, bool)
    if plain and math.isfinite(value):
        raise ValueError(
            f"filter[{key!r}] is [low, high], numbers or None; it is not {value!r}: from it on is [{value}, None], up "
            f"to it [None, {value}]."
        )
    sides = list(value) if isinstance(value, list | tuple) or np.ndim(value) == 1 else []
    numbers = [side for side in sides if isinstance(side, Real) and not isinstance(side, bool)]
    given = [side for side in sides if side is not None]
    if len(sides) != 2 or len(numbers) != len(given) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"filter[{key!r}] is [low, high], numbers or None; it is not {value!r}.")
    if len(given) == 2 and given[0] > given[1]:
        raise ValueError(f"filter[{key!r}] goes from {given[0]} down to {given[1]}: give the lower number first.")
    return [None if side is None else float(side) for side in sides]


def unknown(what: str, given: Any, known: Iterable[str]) -> str:
    """The sentence for a choice that is not there, with the nearest that is."""
    known = list(known)
    near = difflib.get_close_matches(str(given), known, 1, 0.3)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"{what} does not know {given!r}.{meant} It knows {listed}."


def searchable(text: str) -> str:
    """As search sees text: no case, no sign for a space."""
    return text.replace("␣", "").lower()


def whole(value: Any) -> int | None:
    """3, 3.0 and NumPy's or torch's of these as 3; None for what is no whole number."""
    if isinstance(value, bool | np.bool_ | str) or np.ndim(value):
        return None
    try:
        return int(value) if value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def no_argument(name: str) -> str:
    """The sentence for an argument that a browser does not have, with the nearest that it has."""
    taken = ("store", "model", "feature", "filter", "sort", "tab", "height")
    near = difflib.get_close_matches(name, taken, 1, 0.6)
    meant = f" Did you mean {near[0]}=?" if near else ""
    return f"FeatureBrowser takes no {name}=.{meant} It takes {', '.join(taken)}."
