"""gpu.md and the short table at the end, both from gpu.jsonl alone."""

from __future__ import annotations

from pathlib import Path

from gpu_stages import STAGES
from gpu_stages.rows import HIDDEN, Row, newest, shown_as

MOST = 7_800  # characters of the short table
ORDER = (2, 3, 6, 5, 1, 0, 4, 7)  # what is asked first
DRY = "A dry run on a CPU at tiny shapes, 1 and 4 in Triton's interpreter: no time here means anything."


def table(rows: list[Row]) -> list[str]:
    """Markdown: a column for each number that any row has."""
    about = ("row", "shape", "case")
    names = [name for name in about if any(row[name] for row in rows)]
    names += dict.fromkeys(name for row in rows for name in row if name not in (*HIDDEN, *about))
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    return lines + [f"| {' | '.join(shown_as(row.get(name)) for name in names)} |" for row in rows]


def outcome(rows: list[Row], number: int) -> str:
    """How a stage ended."""
    found = [row for row in rows if row["stage"] == number and row["row"] == "stage"]
    return f"{found[-1]['outcome']} in {found[-1]['seconds']} s" if found else "not run"


def grouped(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows of a stage that have the same numbers stand in one table."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["row"] != "stage":
            groups.setdefault(row.get("table", row["row"]), []).append(row)
    return groups


def markdown(out: Path) -> str:
    """All that is known."""
    rows = newest(out)
    lines = ["# The engine on a GPU", "", "Printed by `gpu.py`, which says what the columns mean.", ""]
    lines += [DRY, ""] if rows and rows[-1].get("dry") else []
    for number in ORDER:
        lines += [f"## {STAGES[number].name[0].upper()}{STAGES[number].name[1:]}", "", f"{outcome(rows, number)}.", ""]
        for group in grouped([row for row in rows if row["stage"] == number]).values():
            lines += [*table(group), ""]
    return "\n".join(lines).rstrip() + "\n"


def short(out: Path) -> str:
    """The step first, and as many further rows as MOST characters hold; how each stage ended is always there."""
    rows = newest(out)
    lines = [DRY] if rows and rows[-1].get("dry") else []
    lines += [f"{number} {STAGES[number].name}: {outcome(rows, number)}" for number in STAGES]
    left = MOST - sum(len(line) + 1 for line in lines)
    body: list[str] = []
    for name, group in grouped(sorted(rows, key=lambda row: ORDER.index(row["stage"]))).items():
        shapes = list(dict.fromkeys(row["shape"] for row in group))
        group.sort(key=lambda row: shapes.index(row["shape"]))  # who is beside whom
        for line in ["", f"## {name}", *table(group)]:
            if len(line) + 1 > left - 60:
                return "\n".join([*lines, *body, "… the rest stands in gpu.md"])
            body.append(line)
            left -= len(line) + 1
    return "\n".join([*lines, *body])
