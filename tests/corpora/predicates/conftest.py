"""Labelled tokens written by hand: a predicate asks no more of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Text:
    texts: tuple[str, ...]
    concepts: tuple[frozenset[str], ...]
    counted: tuple[bool, ...]


@pytest.fixture
def window() -> Callable[..., Text]:
    """window("the cat|entity.person,noun sat"): tokens by spaces, labels after |. All but the first token have their
    leading space; `bos=True` puts an uncounted token in front, with a label that must not count."""

    def make(text: str, *, bos: bool = False, counted: tuple[bool, ...] | None = None) -> Text:
        words = [word.partition("|") for word in text.split(" ")]
        texts = tuple((" " if i else "") + word for i, (word, _, _) in enumerate(words))
        concepts = tuple(frozenset(labels.split(",")) if labels else frozenset() for _, _, labels in words)
        if bos:
            return Text(("<s>", *texts), (frozenset({"entity"}), *concepts), (False, *(True for _ in words)))
        return Text(texts, concepts, counted or tuple(True for _ in words))

    return make
