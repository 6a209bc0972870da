"""gpu.jsonl: a row for each thing that was measured, on the disk as soon as it is known.

A stage may be killed in the midst of a row; what it wrote before stays readable, and the next row begins a new line.
A stage that is run again appends; of rows about the same thing the newest counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FILE = "gpu.jsonl"
SAME = ("stage", "row", "shape", "case")
"""What says that two rows are about the same thing."""

HIDDEN = ("run", "stage", "dry", "table")

Row = dict[str, Any]


class Run(NamedTuple):
    """What a stage is told: the folder it writes into, the run's id, its own number, when it must have ended
    (``time.monotonic``, a clock that all processes share), and whether shapes are tiny and times mean nothing."""

    out: Path
    id: str
    stage: int
    ends: float
    device: str
    dry: bool

    def row(self, name: str, *, shape: str = "", case: str = "", **numbers: Any) -> Row:
        """Write a row, print it, give it back."""
        row: Row = {"run": self.id, "stage": self.stage, "row": name, "shape": shape, "case": case, **numbers}
        row |= {"dry": True} if self.dry else {}
        append(self.out, row)
        shown = (f"{key} {shown_as(value)}" for key, value in row.items() if key not in HIDDEN and value != "")
        print("  ".join(shown), flush=True)
        return row

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()


def append(out: Path, row: Row) -> None:
    """One line, on the disk when this returns."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=True) + "\n"
    with (out / FILE).open("a+b") as file:
        if file.tell() and not _ends_a_line(file):
            line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def every(out: Path) -> Iterator[Row]:
    """All rows as they were written; a line that was torn is left out."""
    if not (out / FILE).is_file():
        return
    for line in (out / FILE).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and {"run", "row", *SAME} <= set(row):
            yield row


def newest(out: Path) -> list[Row]:
    """Of rows about the same thing the last, in the order of stages; dry rows and measured ones are not mixed."""
    found: dict[tuple[Any, ...], Row] = {}
    rows = list(every(out))
    for row in rows:
        if row.get("dry", False) == rows[-1].get("dry", False):
            key = tuple(row[name] for name in SAME)
            found.pop(key, None)
            found[key] = row
    return sorted(found.values(), key=lambda row: row["stage"])


def shown_as(value: Any) -> str:
    """A value in a line or a table: three digits of a number, no column's border."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value).replace("|", "/").replace("\n", " ")
