"""Plain text for terminals: tables and concordances of at most 100 columns.

Text comes from models and files: what cannot be seen, and with it whatever a terminal would obey, is shown as its code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from saekit.plots.table import is_number, spoken
from saekit.plots.tokens import columns_of, shown

WIDTH = 100  # columns of a terminal that are used
ROWS = 20  # of a table that are printed; the frame has them all
_LEFT = 38  # columns before the peak of an example
_ENDS = re.compile("^ +| +$")
_BARS = " ▁▂▃▄▅▆▇█"


def text_table(rows: Sequence[Mapping[str, object]], *, more: str = "", most: int = ROWS) -> str:
    """Rows as a plain table; numbers right aligned, the longest texts cut so that a line holds.

    rows: a mapping a row, from column to value; the columns are those of all rows, in order of appearance.
    more: where the rest is, said where there are more than `most` rows, such as "store.latents()".
    """
    names = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows[:most]]
    right = [any(is_number(row.get(name)) for row in rows) for name in names]
    wide = [max(columns_of(text) for text in column) for column in zip(names, *cells, strict=True)] if names else []
    while sum(wide) + 2 * (len(wide) - 1) > WIDTH and max(wide) > 8:
        wide[wide.index(max(wide))] -= 1
    lines = [
        "  ".join(_padded(cut(text, room), room, end) for text, room, end in zip(line, wide, right, strict=True))
        for line in [names, *cells]
    ]
    if len(rows) > most:
        lines.append(f"… {len(rows) - most:,} more" + (f": {more}" if more else ""))
    return "\n".join(line.rstrip() for line in lines)


def text_concordance(
    rows: Sequence[tuple[Sequence[str], Sequence[float], int]], numbers: Sequence[float] | None = None
) -> str:
    """Examples one below the other, the peak token marked and in one column: «so».

    rows: triples (tokens, values, index of the peak token), in the order to show them. numbers: what stands before each
    line; by default the value at its peak.
    """
    lines = []
    for i, (tokens, values, peak) in enumerate(rows):
        number = f"{values[peak] if numbers is None else numbers[i]:z.2f}".replace("-", "−")
        before = cut("".join(map(shown, tokens[:peak])), _LEFT, from_left=True)
        token = shown(tokens[peak], spaces=not tokens[peak].strip())
        lead = len(token) - len(token.lstrip(" "))  # the space before a word stands before the mark
        line = f"{number:>8}  {_padded(before + token[:lead], _LEFT + 1, True)}«{token[lead:]}»"
        lines.append(cut(line + "".join(map(shown, tokens[peak + 1 :])), WIDTH).rstrip())
    return "\n".join(lines) or "no examples"


def sparkline(counts: Sequence[int]) -> str:
    """A histogram on one line, a sign a bin; heights logarithmic; one count is seen, an empty bin bare.

    counts: of each bin."""
    tallest = math.log1p(max(counts, default=0)) or 1.0
    return "".join(_BARS[math.ceil((len(_BARS) - 1) * math.log1p(count) / tallest)] for count in counts)


def cut(text: str, room: int, from_left: bool = False) -> str:
    """The text in at most so many columns; … where something is left out, at its end or at its start."""
    if columns_of(text) <= room:
        return text
    kept, used = [], 1
    for c in reversed(text) if from_left else text:
        used += columns_of(c)
        if used > room:
            break
        kept.append(c)
    return "…" + "".join(reversed(kept)) if from_left else "".join(kept) + "…"


def _cell(value: object) -> str:
    """As a table has it; whole numbers without commas, so that they can be copied, and spaces at the ends as ␣."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _ENDS.sub(lambda ends: "␣" * len(ends[0]), shown(spoken(value)))


def _padded(text: str, room: int, right: bool) -> str:
    space = " " * (room - columns_of(text))
    return space + text if right else text + space
