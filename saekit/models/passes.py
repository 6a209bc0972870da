"""Which rows run through a model together: rows of like length, so that a pass is full and little padding is computed.

Each row gets what it would get alone; only the last bits of a matrix product may depend on the rows beside it. So where
the same activations are wanted, whichever engine or process reads them, the same rows go together.
"""

from __future__ import annotations

from collections.abc import Sequence

ROWS_AT_ONCE = 16
"""Rows in a pass whose logits or gradients are wanted, since [row, position, d_vocab] is large; and documents that are
tokenised, counted and named in errors together."""
POSITIONS_AT_ONCE = 2**12
"""Rows × the longest of them in a pass that keeps activations alone."""
ORDERED_AT_ONCE = 2**14
"""Tokens among which rows of like length are looked for, where what is read is wanted in its order soon."""


def passes(lengths: Sequence[int], positions: int = POSITIONS_AT_ONCE, rows: int | None = None) -> list[list[int]]:
    """Rows by number, in passes of at most ``positions`` places, and ``rows`` rows where that is given; of a longer row
    one alone. Where one pass holds them all they stay in order."""
    order = list(range(len(lengths)))
    if len(order) * max(lengths, default=0) <= positions and (rows is None or len(order) <= rows):
        return [order] if order else []
    order.sort(key=lambda row: -lengths[row])
    found: list[list[int]] = []
    while order:
        count = max(1, min(positions // max(1, lengths[order[0]]), rows or len(order)))
        found.append(order[:count])
        order = order[count:]
    return found
