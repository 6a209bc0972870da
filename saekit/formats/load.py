"""load_dictionary: a shipped dictionary by name, or a folder."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path

import torch

from saekit.dictionaries import Dictionary, read_dictionary


def shipped() -> dict[str, Path]:
    """Dictionaries that come with saekit: ``model/site`` and their folders."""
    root = Path(str(files("saekit") / "dictionaries" / "shipped"))
    return {
        str(config.parent.relative_to(root).as_posix()): config.parent
        for config in sorted(root.glob("*/*/config.json"))
    }


def load_dictionary(
    source: str | Path, device: str | torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Dictionary:
    """Load a shipped dictionary (``"micro/blocks.2.hook_resid_post"``) or one saved in a folder.

    Raises FileNotFoundError naming the closest shipped one, ValueError for a damaged or foreign file.
    """
    ships = shipped()
    folder = ships.get(str(source), Path(source).expanduser())
    if not (folder / "config.json").is_file():
        near = difflib.get_close_matches(str(source), ships, 1, 0.0)
        hint = f"the closest shipped one is {near[0]!r}" if near else "none is shipped"
        if folder.is_dir():
            raise FileNotFoundError(f"{folder} holds no config.json, so it is no dictionary of a known format; {hint}.")
        raise FileNotFoundError(f"there is no dictionary {str(source)!r}, neither shipped nor a folder; {hint}.")
    return read_dictionary(folder, dtype).to(device or "cpu")
