"""gpu.md and the short table at the end, both from gpu.jsonl alone."""

from __future__ import annotations

from pathlib import Path

from gpu_stages import STAGES
from gpu_stages.rows import HIDDEN, Row, newest, shown_as

MOST = 7_800  # characters of the short table
NOTES = {
    2: "The floor is 2 N D F operations at the product's speed and 2 min(F, N k) D + 26 · 2 F D bytes at the copy's: "
    "the encoder's product, the decoder rows that are used, Adam; AuxK counts as nothing. roof is floor / ms. Recall "
    "is against the bfloat16 pre-activations that were chosen from.",
    3: "5 % of the latents are dead, as in the row of the same shape above.",
}
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


def beside(rows: list[Row]) -> list[str]:
    """Of each shape the step at 5 % dead beside the fastest of the others."""
    steps = [row for row in rows if row.get("table") == "step" and row["case"] == "5% dead" and row.get("ms")]
    lines = []
    for own in (row for row in steps if row["row"] == "saekit"):
        others = [row for row in steps if row["shape"] == own["shape"] and row["row"] != "saekit"]
        if others:
            best = min(others, key=lambda row: row["ms"])
            said = f"{own['shape']}: {best['ms'] / own['ms']:.2f} × as fast as {best['row']}, the fastest of the others"
            memory = own.get("MiB beside states"), best.get("MiB beside states")
            lines.append(said + (f", with {memory[0] / memory[1]:.3g} of its memory" if all(memory) else "") + ".")
    return lines


def card(rows: list[Row]) -> str:
    """What it was measured on."""
    found = next((row for row in rows if row["row"] == "machine"), {})
    names = ("device", "driver", "torch", "triton", "python")
    return ", ".join(f"{'' if name == 'device' else name + ' '}{found[name]}" for name in names if found.get(name))


def markdown(out: Path) -> str:
    """All that is known."""
    rows = newest(out)
    lines = ["# The engine on a GPU", "", "Printed by `gpu.py`, which says what the columns mean.", "", card(rows), ""]
    lines += [DRY, ""] if rows and rows[-1].get("dry") else []
    for number in ORDER:
        lines += [f"## {STAGES[number].name[0].upper()}{STAGES[number].name[1:]}", "", f"{outcome(rows, number)}.", ""]
        lines += [NOTES[number], ""] if number in NOTES else []
        for group in grouped([row for row in rows if row["stage"] == number]).values():
            lines += [*table(group), ""]
        lines += [*beside(rows), ""] if number == 3 else []
    return "\n".join(lines).rstrip() + "\n"


def short(out: Path) -> str:
    """The step first, as many further rows as MOST characters hold, and how each stage ended."""
    rows = newest(out)
    ends = ["", *(f"{number} {STAGES[number].name}: {outcome(rows, number)}" for number in STAGES)]
    left = MOST - sum(len(line) + 1 for line in ends)
    body = [DRY] if rows and rows[-1].get("dry") else []
    body += [card(rows), *beside(rows)]
    left -= sum(len(line) + 1 for line in body)
    for name, group in grouped(sorted(rows, key=lambda row: ORDER.index(row["stage"]))).items():
        shapes = list(dict.fromkeys(row["shape"] for row in group))
        group.sort(key=lambda row: shapes.index(row["shape"]))  # who is beside whom
        for line in ["", f"## {name}", *table(group)]:
            if len(line) + 1 > left - 60:
                return "\n".join([*body, "… the rest stands in gpu.md", *ends])
            body.append(line)
            left -= len(line) + 1
    return "\n".join([*body, *ends])
