"""Which latents a browser's list shows: the rule, as plainly as it can be written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def passing(  # noqa: C901
    columns: Mapping[str, np.ndarray],
    usual: np.ndarray,
    dead: np.ndarray,
    concept: np.ndarray,
    concepts: Sequence[str],
    hints: Sequence[str],
    labels: Mapping[int, Mapping[str, Any]],
    filter: Mapping[str, Any],
    sort: Sequence[Any] | None,
    firing: Sequence[int] = (),
) -> list[int]:
    """The latents that a list shows, in order, one at a time: what others are held against."""

    def seen(text: str) -> str:
        return text.replace("␣", "").lower()

    def passes(latent: int) -> bool:
        own, words = labels.get(latent, {}), seen(filter.get("search", "")).strip()
        asked = filter.get("dead") or (filter.get("starred") and own.get("star"))
        if dead[latent] and not asked and not (words.isdecimal() and int(words) == latent):
            return False
        if (filter.get("dead") and not dead[latent]) or (filter.get("starred") and not own.get("star")):
            return False
        named = concepts[concept[latent]] if concept[latent] >= 0 else ""
        said = [hints[latent], named, str(latent), *(own.get(name) or "" for name in ("label", "note", "explanation"))]
        if words and latent not in firing and not any(words in seen(text) for text in said):
            return False
        if "concept" in filter and (concept[latent] < 0 or concepts[concept[latent]] != filter["concept"]):
            return False
        for name, (low, high) in ((name, filter[name]) for name in columns if name in filter):
            value = float(columns[name][latent])
            if not (-math.inf if low is None else low) <= value <= (math.inf if high is None else high):
                return False
        return True

    def order(latent: int) -> tuple[bool, float, int]:
        if sort is None:
            return (False, float(usual[latent]), latent)
        value = float(latent if sort[0] == "latent" else columns[sort[0]][latent])
        return (True, 0.0, latent) if math.isnan(value) else (False, -value if sort[1] else value, latent)

    return sorted((latent for latent in range(len(dead)) if passes(latent)), key=order)
