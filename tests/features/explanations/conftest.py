"""What the tests of explanations share: windows written by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from saekit.features.asking.windows import Window


@pytest.fixture
def window() -> Callable[..., Window]:
    """window("the* cat|entity.person,noun sat"): tokens by spaces, * where the latent fires, labels after |.

    All but the first token have their leading space; `bos=True` puts an uncounted token in front."""
    document = count()
    place = count()

    def make(text: str, *, bos: bool = False, **changes: Any) -> Window:
        words = text.split(" ")
        texts, values, concepts = [], [], []
        for i, word in enumerate(words):
            word, _, labels = word.partition("|")
            values.append(2.0 if word.endswith("*") else 0.0)
            texts.append((" " if i else "") + word.rstrip("*"))
            concepts.append(frozenset(labels.split(",")) if labels else frozenset())
        counted = [True] * len(words)
        if bos:
            texts, values, counted = ["<s>", *texts], [0.0, *values], [False, *counted]
            concepts = [frozenset({"entity"}), *concepts]  # a label that must not count
        fields = {
            "places": tuple(next(place) for _ in texts),
            "document": next(document),
            "tokens": tuple(range(len(texts))),
            "texts": tuple(texts),
            "values": tuple(values),
            "concepts": tuple(concepts),
            "counted": tuple(counted),
        }
        return Window(**{**fields, **changes})

    return make
