"""The microworld: an English-like corpus whose generator labels every span with the concepts that produced it.

A kind of document is one file here with KIND, SHARE, `document(draw, split)` and, where it is a task, `prompts(draw,
split)`; add the file, its name in `FILES`, and a test."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from importlib import import_module
from itertools import accumulate, count
from types import ModuleType

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw

FILES = (
    "agreement biographies capitals coordinates entities functions garden_paths introductions narration "
    "repeats requests reviews rules senses styles sums taxonomy translations years"
)
KINDS: dict[str, ModuleType] = {
    module.KIND: module for module in (import_module(f"{__name__}.{name}") for name in FILES.split())
}


def document(kind: str, split: str, seed: int, number: int, correlation: float | None = None) -> Document:
    """Document `number` of a kind: a function of its arguments alone."""
    draw = Draw(kind, split, seed, number)
    draw.correlation = correlation
    return KINDS[kind].document(draw, split)


def stream(kinds: tuple[str, ...], seed: int, correlation: float | None = None) -> Iterator[Document]:
    """The endless training stream; each kind by its SHARE."""
    cumulative = list(accumulate(KINDS[kind].SHARE for kind in kinds))
    draw = Draw("stream", seed)
    for number in count():
        kind = kinds[bisect(cumulative, draw.uniform() * cumulative[-1])]
        yield document(kind, "train", seed, number, correlation)
