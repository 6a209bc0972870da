"""load_dictionary and export: dictionaries by name, from folders of runs, and in every format of the registry."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch

from saekit.dictionaries import Dictionary
from saekit.dictionaries.embedded import shipped
from saekit.files.arguments import brief
from saekit.files.choices import checked, offered
from saekit.files.paths import resolved
from saekit.formats.registry import REGISTRY
from saekit.models import as_device, as_dtype

SHOWN = 5  # names in a folder that an error lists


def load_dictionary(
    source: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype = torch.float32
) -> Dictionary:
    """Load a shipped dictionary (``"micro/blocks.2.hook_resid_post"``), one in a folder or file of a known format, or
    the one of a run's folder.

    source: its name or path; ``sk.dictionaries.available()`` lists those that ship. device: default the CPU.
    dtype:  of its weights, such as "bfloat16"; default float32.
    Returns a Dictionary, frozen. For example ``sae = sk.load_dictionary("micro/blocks.2.hook_resid_post")``.
    Raises FileNotFoundError for what is not there, naming the closest shipped one; ValueError for a format that is not
    known (naming those that are), a run of several dictionaries (naming their folders), and damaged files.
    """
    if not isinstance(source, str | PathLike):
        raise TypeError(f"a dictionary is loaded by its name or path, found {brief(source)}.")
    ships = shipped()
    path = ships.get(str(source), Path(source).expanduser())
    if not path.exists():
        hint = f"of those shipped {offered(source, ships)}"
        raise FileNotFoundError(f"there is no dictionary {str(source)!r}, neither shipped nor a folder; {hint}.")
    kind, where = as_dtype(dtype), as_device(device or "cpu")
    path = _of_a_run(path)
    for known in REGISTRY.values():
        if known.matches(path):
            return known.read(path, kind).to(where)
    raise ValueError(f"{path} holds no dictionary of a known format ({', '.join(REGISTRY)}); found {_found(path)}.")


def export(dictionary: Dictionary, folder: str | Path, format: str = "saekit") -> Path:
    """Write a dictionary into a folder in one of the registered formats.

    Returns the path of what was written. For example ``sk.export(sae, "out", format="saekit")``.
    Raises ValueError for a format that is not known or only read, naming the closest that is written, and for a
    dictionary that the format cannot hold; NotWritten where the disk refuses."""
    writers = {name: known.write for name, known in REGISTRY.items() if known.write is not None}
    return writers[checked("format", format, writers)](dictionary, resolved(folder))


def _of_a_run(path: Path) -> Path:
    """Where the dictionary of a run lies; any other path as it is."""
    if (path / "dictionary").is_dir():
        return path / "dictionary"
    if several := sorted((path / "dictionaries").glob("*/"), key=lambda place: (len(place.name), place.name)):
        named = ", ".join(str(place) for place in several)
        raise ValueError(f"{path} holds a run of {len(several)} dictionaries: load one of {named}.")
    if (path / "checkpoint.safetensors").is_file():
        raise ValueError(f"{path} holds a run that is not finished: call sk.train with it again first.")
    return path


def _found(path: Path) -> str:
    """What there is instead, in words."""
    if path.is_file():
        return "a file of another format"
    names = sorted(inside.name for inside in path.iterdir())
    shown = ", ".join(names[:SHOWN]) or "an empty folder"
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
