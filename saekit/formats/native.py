"""saekit's own format: what ``Dictionary.save`` writes."""

from __future__ import annotations

from pathlib import Path

from saekit.dictionaries import read_dictionary, write_dictionary
from saekit.dictionaries.storage import FORMAT
from saekit.formats.registry import Format, register


def matches(path: Path) -> bool:
    """Is there a config.json that names the format? One that was cut still does, so that reading it says so."""
    config = path / "config.json"
    return config.is_file() and FORMAT.encode() in config.read_bytes()


NATIVE = register(Format("saekit", matches, read_dictionary, write_dictionary))
