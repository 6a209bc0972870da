"""Manifests: JSON files that say what a folder holds, and whether that is what is about to be put there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from saekit.files.writing import write_atomically


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
    and both values. kind: what the folder holds, such as "run"."""
    differ = [
        line for key, value in as_read(dict(here)).items() for line in _differences(key, as_read(there.get(key)), value)
    ]
    if differ:
        raise ValueError(f"{folder} holds another {kind}; it differs in {'; '.join(differ)}. Choose {instead}.")


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    """Such as "seed (there 0, here 1)"; of mappings their fields: "settings.top (there 3, here 4)"."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in here | there:
            yield from _differences(f"{name}.{key}", there.get(key), here.get(key))
    elif there != here:
        yield f"{name} (there {_short(there)}, here {_short(here)})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
