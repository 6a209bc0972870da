"""What a file of a browser holds: some features of a store, and nothing of the machine that it was made on."""

from __future__ import annotations

import gc
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from saekit_widgets.protocols import Listing

# From the root of a disk on, with a folder at least: what stands last is its name.
_PATH = re.compile(r"""(?<![\w.<])(?:[A-Za-z]:|~)?[\\/](?:[^\s\\/"'<>|·;,()]+[\\/])+([^\s\\/"'<>|·;,()]*)""")
_DIGITS = 6  # significant ones of a number
_NO_FLOATS = ("pieces", "tokens")  # nearly all there is of an example


@contextmanager
def all_kept() -> Iterator[None]:
    """Python looks for no garbage inside: a file is made of hundreds of thousands of small lists that all stay, and to
    look through them again and again takes a fifth of the time."""
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked:
            gc.enable()


def part_of(listing: Listing, inside: Sequence[int], near: Collection[int], waiting: Mapping[str, int]) -> Listing:
    """The listing with what it says of the features `inside`; of those `near`, their neighbours, the names alone.

    waiting: how many of them have no number yet, by column."""
    size, within = listing["d_sae"], np.zeros(listing["d_sae"], bool)
    within[list(inside)] = True
    known = [listing["labels"].get(latent, {}).get("label") for latent in range(size)]
    named = within.copy()
    named[list(near)] = True
    titles = {column["name"]: column["title"] for column in listing["about"]}
    said = [f"{len(inside):,} of {size:,} features"]
    said += [f"{titles[name]} of {len(inside) - count:,} of them" for name, count in waiting.items()]
    part = {
        **listing,
        "store": "",
        "facts": " · ".join([listing["facts"], *said]),
        "columns": {name: np.where(within, column, np.nan) for name, column in listing["columns"].items()},
        "concept": np.where(within, listing["concept"], -1),
        "hints": [(known[i] or listing["hints"][i]) if named[i] else "" for i in range(size)],
        "labels": {latent: entry for latent, entry in listing["labels"].items() if within[latent]},
    }
    paths = [str(part["title"]), str(part["model"])]
    for name in ("title", "model", "site", "facts", "definitions"):
        part[name] = without_paths(part[name], paths)
    return part  # type: ignore[return-value]


def feature_of(view: Mapping[str, Any], inside: Collection[int], paths: Iterable[str]) -> dict[str, Any]:
    """A view as the file has it: what waits for a model says so, and nothing leads out of the file."""
    numbers = {name: dict(fact) for name, fact in view["numbers"].items()}
    for fact in numbers.values():
        if fact.pop("later", False):
            fact["more"] = "It was not measured when this file was made: export_html(…, effects=True) does it."
    return {
        **view,
        "numbers": without_paths(numbers, paths),
        "absent": without_paths(view["absent"], paths),
        "next_alive": view["next_alive"] if view["next_alive"] in inside else None,
    }


def without_paths(value: Any, known: Iterable[str]) -> Any:
    """Text, or all text in it, with the name of a folder or file in place of the way there. `known`: paths that may
    have spaces."""
    if isinstance(value, Mapping):
        return {key: without_paths(item, known) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    for path in sorted(filter(_is_path, known), key=len, reverse=True):
        value = value.replace(path, _last(path))
    return _PATH.sub(lambda found: found[1] or _last(found[0]), value)


def _is_path(text: str) -> bool:
    return bool(re.match(r"(?:[A-Za-z]:|~)?[\\/]", text)) or "\\" in text


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def short(value: Any) -> Any:
    """JSON with six significant digits a number."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: item if key in _NO_FLOATS else short(item) for key, item in value.items()}
    return [short(item) for item in value] if isinstance(value, list) else value


def short_floats(buffer: bytes) -> bytes:
    """float32 numbers with 16 binary digits each, nearly five decimal ones: the last byte of each is 0, and packs."""
    bits = np.frombuffer(buffer, "<u4")
    return ((bits + np.uint32(0x80)) & np.uint32(0xFFFFFF00)).astype("<u4").tobytes()
