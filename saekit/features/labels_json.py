"""Labels and explanations as a JSON file, to hand to others: format saekit.labels, version 1.

{"format": "saekit.labels", "version": 1, "dictionary": fingerprint or null,
 "labels": [{"latent", "label", "star", "note", "saved"}],
 "explanations": [{"latent", "text", "predicate", "author", "detection", "fuzzing", "saved"}]}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saekit.features.labels import (
    Labels,
    now,
    put,
    put_explanation,
    text_of,
)
from saekit.features.labels_file import VERSION
from saekit.models.safely import write_atomically

FORMAT = "saekit.labels"


def write_labels(labels: Labels, path: Path) -> Path:
    """Write all labels and explanations, whole or not at all."""
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


def read_labels(labels: Labels, path: Path, replace: bool) -> None:
    """Put what the file says into `labels`, in one transaction, after all of it was checked."""
    try:
        rows, explanations = _checked(labels, _content(path))
    except (ValueError, KeyError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ValueError(f"{path} was not imported: {reason}. Nothing was changed.") from error
    with labels.file.writing() as connection:
        if replace:
            connection.execute("DELETE FROM explanations")
            imported = {row["latent"] for row in rows}
            here = [latent for (latent,) in connection.execute("SELECT latent FROM labels")]
            # Cleared rather than deleted, so that others who have the store open learn of it.
            rows += [_label(labels, {"latent": latent}) for latent in here if latent not in imported]
        for row in rows:
            put(connection, row)
        for row in explanations:
            put_explanation(connection, row)


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
