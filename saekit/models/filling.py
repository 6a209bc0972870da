"""Which rows run through a model together: rows of like length, so that a pass is full and little padding is computed.

Each row gets what it would get alone; only the last bits of a matrix product may depend on the rows beside it. So where
the same activations are wanted, whichever engine or process reads them, the same rows go together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ROWS_AT_ONCE = 16
"""Rows in a pass whose logits or gradients are wanted, since [row, position, d_vocab] is large; and documents that are
tokenised, counted and named in errors together."""
POSITIONS_AT_ONCE = 2**12
"""Rows × the longest of them in a pass that keeps activations alone."""
MULTIPLE = 2**4
"""On a CPU the places of a pass are a multiple of so many: where threads share a tensor in other pieces, last bits at
their ends are those of another loop, and so one thread and two would not read the same."""
ORDERED_AT_ONCE = 2**14
"""Tokens among which rows of like length are looked for, where what is read is wanted in its order soon."""


def passes(lengths: Sequence[int], positions: int = POSITIONS_AT_ONCE, rows: int | None = None) -> list[list[int]]:
    """Rows by number, in passes of at most ``positions`` places, and ``rows`` rows where that is given; of a longer row
    one alone. Where one pass holds them all they stay in order.

    lengths: of each row, in tokens."""
    order = list(range(len(lengths)))
    if len(order) * max(lengths, default=0) <= positions and (rows is None or len(order) <= rows):
        return [order] if order else []
    order.sort(key=lambda row: -lengths[row])
    found: list[list[int]] = []
    while order:
        count = max(1, min(positions // max(1, lengths[order[0]]), rows or len(order)))
        if MULTIPLE < count < len(order):  # so that none need be made wider (see even_width)
            count -= count % MULTIPLE
        found.append(order[:count])
        order = order[count:]
    return found


def even_width(rows: int, longest: int, most: int) -> int:
    """The width from ``longest`` on, at which so many rows have a MULTIPLE of places; ``longest`` where that is above
    ``most``."""
    step = MULTIPLE // math.gcd(rows, MULTIPLE)
    width = -(-longest // step) * step
    return width if width <= most else longest
