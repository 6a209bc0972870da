"""Labels and explanations as a JSON file, to hand to others: format saekit.labels, version 1.

{"format": "saekit.labels", "version": 1, "dictionary": fingerprint or null,
 "labels": [{"latent", "label", "star", "note", "saved"}],
 "explanations": [{"latent", "text", "predicate", "author", "detection", "fuzzing", "saved"}]}
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saekit.features.labels.labels import (
    VERSION,
    Labels,
    now,
    put,
    put_explanation,
    stored_explanations,
    stored_labels,
    text_of,
)
from saekit.files import write_atomically
from saekit.files.paths import resolved

FORMAT = "saekit.labels"


@dataclass(frozen=True)
class Imported:
    """What an import did.

    labels, explanations: so many were added or changed.
    kept_labels, kept_explanations: for so many the file said something else, and what was here stayed.
    """

    labels: int
    explanations: int
    kept_labels: int = 0
    kept_explanations: int = 0

    def __str__(self) -> str:
        kept = f"kept {self.kept_labels} labels and {self.kept_explanations} explanations that the file has otherwise"
        hint = "; replace=True takes the file's" if self.kept_labels or self.kept_explanations else ""
        return f"added {self.labels} labels and {self.explanations} explanations, {kept}{hint}"


def export_labels(labels: Labels, path: str | Path) -> Path:
    """Write labels, stars, notes and explanations as one JSON file, whole or not at all."""
    path = resolved(path, "path")
    content = {
        "format": FORMAT,
        "version": VERSION,
        "dictionary": labels.dictionary,
        "labels": [{"latent": latent, **row} for latent, row in labels.all().items()],
        "explanations": labels.explanations(),
    }
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))
    return path


def import_labels(labels: Labels, path: str | Path, replace: bool = False) -> Imported:
    """Take in what export_labels wrote, in one transaction, after all of it was checked. What is here stays: a label,
    star or note is only added where there is none, an explanation where its author gave no such text. `replace` makes
    all here as the file says; what it lacks goes. Returns how many were added, and how many stayed as they were here.

    Raises ValueError for a file that is none, of another dictionary or with latents that are not there; nothing is
    changed then."""
    path = resolved(path, "path")
    try:
        rows, explanations = _checked(labels, _content(path))
    except (ValueError, KeyError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ValueError(f"{path} was not imported: {reason}. Nothing was changed.") from error
    with labels.file.writing() as connection:
        if replace:
            return _replace(labels, connection, rows, explanations)
        return _add(connection, rows, explanations)


def _replace(
    labels: Labels, connection: sqlite3.Connection, rows: list[dict[str, Any]], explanations: list[dict[str, Any]]
) -> Imported:
    connection.execute("DELETE FROM explanations")
    imported = {row["latent"] for row in rows}
    here = [latent for (latent,) in connection.execute("SELECT latent FROM labels")]
    # Cleared rather than deleted, so that others who have the store open learn of it.
    for row in [*rows, *(_label(labels, {"latent": latent}) for latent in here if latent not in imported)]:
        put(connection, row)
    for row in explanations:
        put_explanation(connection, row)
    return Imported(len(rows), len(explanations))


def _add(connection: sqlite3.Connection, rows: list[dict[str, Any]], explanations: list[dict[str, Any]]) -> Imported:
    """What is here stays; a text or star of the file goes where there is none."""
    here, added, kept = stored_labels(connection), 0, 0
    for row in rows:
        mine = here.get(row["latent"], {})
        fields = ("label", "star", "note")
        new = {name: row[name] for name in fields if row[name] and not mine.get(name)}
        kept += any(row[name] and mine.get(name) and mine[name] != row[name] for name in fields)
        if new:
            added += 1
            saved = now() if any(mine.get(name) for name in fields) else row["saved"]
            put(connection, {**dict.fromkeys(fields), **new, "latent": row["latent"], "saved": saved})
    known = {_same(row): row for row in stored_explanations(connection)}
    others = [row for row in explanations if _same(row) not in known]
    for row in others:
        put_explanation(connection, row)
    otherwise = sum(known.get(_same(row), row) != row for row in explanations)
    return Imported(added, len(others), kept, otherwise)


def _same(row: dict[str, Any]) -> tuple[int, str, str]:
    """What of an explanation is there once."""
    return row["latent"], row["text"], row["author"]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from None
    form, version = (content.get("format"), content.get("version")) if isinstance(content, dict) else (None, None)
    if form != FORMAT:
        raise ValueError(f"its format is {form!r}, not {FORMAT!r}")
    if version != VERSION:
        raise ValueError(f"it has version {version!r} of {FORMAT}, this saekit reads {VERSION}")
    return content


def _checked(labels: Labels, content: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows to write. Raises ValueError or KeyError for anything that is not as it should be."""
    theirs = content.get("dictionary")
    if None not in (theirs, labels.dictionary) and theirs != labels.dictionary:
        raise ValueError(f"it is about another dictionary ({theirs}), this store has {labels.dictionary}")
    for name in ("labels", "explanations"):
        if not isinstance(content[name], list) or not all(isinstance(row, dict) for row in content[name]):
            raise ValueError(f"its {name} are not a list of objects")
    rows = [_label(labels, row) for row in content["labels"]]
    seen: set[int] = set()
    for row in rows:
        if row["latent"] in seen:
            raise ValueError(f"it has latent {row['latent']} twice")
        seen.add(row["latent"])
    return rows, [labels.checked_explanation(row) for row in content["explanations"]]


def _label(labels: Labels, row: dict[str, Any]) -> dict[str, Any]:
    """A row of labels; what it does not say is empty, saved now."""
    texts = {name: text_of(row.get(name), name) or "" for name in ("label", "note")}
    star = row.get("star", False)
    if not isinstance(star, bool):
        raise ValueError(f"star must be true or false, found {star!r}")
    saved = text_of(row.get("saved"), "saved") or now()
    return {"latent": labels.checked(row["latent"]), **texts, "star": star, "saved": saved}
