"""The formats there are. One more is one file: a Format, and ``register``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from saekit.dictionaries import Dictionary


@dataclass(frozen=True)
class Format:
    """A way to keep a dictionary on disk.

    name:    what ``sk.export(format=…)`` calls it.
    matches: does this folder or file hold one? Asked of every path, so it looks at names and small files alone.
    read:    the dictionary there, frozen, in this dtype. Raises ValueError naming what is damaged.
    write:   put a dictionary into a folder and return where; None for a format that is only read. Raises ValueError
             for a dictionary that the format cannot hold.
    """

    name: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, torch.dtype], Dictionary]
    write: Callable[[Dictionary, Path], Path] | None = None


REGISTRY: dict[str, Format] = {}


def register(known: Format) -> Format:
    """Make a format known to ``load_dictionary`` and ``export``. Those registered first are asked first; one of the
    same name that was registered before goes, as when a cell is run again.

    Raises ValueError for the name of one that comes with saekit."""
    before = REGISTRY.get(known.name)
    if before is not None and _ships(before) and not _ships(known):
        raise ValueError(f"there is a format {known.name!r} already: give this one another name.")
    REGISTRY[known.name] = known
    return known


def _ships(known: Format) -> bool:
    return known.read.__module__.startswith("saekit.")
