"""Manifests: JSON files that say what a folder holds, and whether that is what is about to be put there."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from saekit.files.writing import write_atomically

LONGEST = 100  # characters of a value
GIVEN = "given"
"""The entry of a manifest that has the fingerprints of what went in; those of before it was kept have none."""


def write_json(file: Path, content: Any) -> None:
    """Write a file whole or not at all; mappings as objects. Raises NotWritten as ``write_atomically`` does."""
    text = json.dumps(content, indent=1, default=dict)
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))


def as_read(content: Any) -> Any:
    """The content as it is once written and read again: tuples are lists."""
    return json.loads(json.dumps(content, default=dict))


def check_same(
    folder: Path, kind: str, there: Mapping[str, Any], here: Mapping[str, Any], instead: str = "another folder"
) -> None:
    """Raise ValueError unless the folder's manifest agrees with every field of ``here``: it names those that differ
    and both values. kind: what the folder holds, such as "run". What went in is passed over where it was not kept."""
    known = {key: value for key, value in as_read(dict(here)).items() if key != GIVEN or GIVEN in there}
    differ = [line for key, value in known.items() for line in _differences(key, as_read(there.get(key)), value)]
    if differ:
        raise ValueError(f"{folder} holds another {kind}; it differs in {'; '.join(differ)}. Choose {instead}.")


def warn_of_unknown(folder: Path, there: Mapping[str, Any]) -> None:
    """Say what cannot be known of a folder whose manifest has no fingerprints of what went in."""
    if GIVEN not in there:
        warnings.warn(
            f"{folder} was made before fingerprints of what went in were kept: whether it is of the same text, and of "
            "the model as it is now, cannot be known.",
            stacklevel=3,
        )


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    """Such as "seed (there 0, here 1)"; of mappings their fields: "settings.top (there 3, here 4)"."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in here | there:
            yield from _differences(f"{name}.{key}", there.get(key), here.get(key))
    elif there != here:
        yield f"{name} (there {_shown(there)}, here {_shown(here)})"


def _shown(value: Any) -> str:
    """A value, as much of it as can be read: of a hash its beginning, of a long list how long it is."""
    if isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef"):
        return repr(value[:12] + "…")
    text = repr(value)
    if isinstance(value, list) and len(text) > LONGEST:
        return f"{len(value)} of them"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
