"""Views as messages carry them: plain JSON, and bulk numbers in one buffer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from saekit_widgets.protocols import Example, FeatureView

_AS_IT_IS = {str, int, bool, type(None)}


def packed_view(view: FeatureView) -> tuple[dict[str, Any], bytes]:
    """The view for JSON, and one float32 buffer: of each example, from its offset `at`, an activation, a logit effect
    and a loss effect a piece; nan where there is none."""
    numbers: list[Any] = []

    def packed(example: Example) -> dict[str, Any]:
        rest: dict[str, Any] = dict(example)
        at, pieces = len(numbers), len(example["pieces"])
        for name in ("values", "logit_effect", "loss_effect"):
            column = rest.pop(name)
            if len(column) != pieces:
                raise ValueError(f"An example has {pieces} pieces but {len(column)} entries of {name}.")
            numbers.extend(math.nan if value is None else value for value in column)
        return {**rest, "at": at}

    examples = {
        kind: [
            {**part, "examples": [packed(example) for example in part["examples"]]}
            if "examples" in part
            else packed(part)
            for part in parts
        ]
        for kind, parts in view["examples"].items()
    }
    return {**view, "examples": examples}, np.array(numbers, dtype="<f4").tobytes()


def plain(value: Any) -> Any:
    """What JSON can say: no numpy, no nan, keys as text."""
    if (
        value is None
        or isinstance(value, str | int)
        or (type(value) is list and _AS_IT_IS.issuperset(map(type, value)))
    ):
        return value  # nearly all there is
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
