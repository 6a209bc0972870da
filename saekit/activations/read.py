"""What was read, in words: the same in the repr of activations, in reports, stores and runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saekit.models.bos import bos_of


def what_was_read(
    model: Any, rows: int, tokens: int, excluded: Mapping[str, int], bos: bool | None = None
) -> dict[str, Any]:
    """rows, counted tokens, how many were excluded by reason (padding among them where a mask told it), and the text of
    the BOS that rows begin with, None where they have none."""
    begin = bos_of(model, bos)
    name = None if begin is None else str(model.tokenizer.convert_ids_to_tokens(begin))
    return {"rows": rows, "tokens": tokens, "excluded": dict(excluded), "bos": name}


def spoken_read(read: Mapping[str, Any]) -> str:
    """Such as "64 rows, BOS is '<s>'; 3,000 counted tokens; left out: 64 bos, 12 padding"."""
    left = ", ".join(f"{count:,} {reason}" for reason, count in read["excluded"].items() if count) or "nothing"
    return f"{spoken_rows(read)}; {read['tokens']:,} counted tokens; left out: {left}"


def spoken_rows(read: Mapping[str, Any]) -> str:
    """Such as "64 rows, BOS is '<s>', padding by the attention mask"."""
    bos = f"BOS is {read['bos']!r}" if read["bos"] is not None else "no BOS"
    return f"{read['rows']:,} rows, {bos}{', padding by the attention mask' if 'padding' in read['excluded'] else ''}"
