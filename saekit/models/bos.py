"""BOS: what a row begins with."""

from __future__ import annotations

from typing import Any


def bos_of(model: Any, prepend: bool | None = None) -> int | None:
    """The id that a row begins with, or None."""
    if prepend is False:
        return None
    return model.tokenizer.bos_token_id
