"""saekit's own format: a folder with ``config.json`` (what it is) and ``weights.safetensors`` (its tensors).

Files are written beside their place, flushed to the disk and renamed, so that a reader never sees half a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from saekit.files import write_atomically
from saekit.files.checkpoints import without_sharing
from saekit.files.paths import resolved

FORMAT, VERSION = "saekit.dictionary", 1

# Dictionary.save writes with these, so they know it by its attributes alone.


def stored(dictionary: Any) -> dict[str, Tensor]:
    """Its tensors by the names they have in files, ``encoder_directions`` for the encoder's directions.

    dictionary: any."""
    return {
        name.replace("encoder.", "encoder_").replace("decoder.", "decoder_"): tensor
        for name, tensor in dictionary.state_dict().items()
    }


def latents_in(state: Mapping[str, Tensor]) -> int:
    """How many latents the dictionary has whose tensors these are; 0 where they do not say. Of a nested one the
    ``latent_max`` is its base's.

    state: tensors by name."""
    named = [name for name in state if name.rpartition(".")[2] == "latent_max"]
    return len(state[min(named, key=len)]) if named else 0


def write_dictionary(dictionary: Any, folder: str | Path) -> Path:
    """Save a dictionary; what was there before stays until both new files are whole.

    folder: made where it is not there, and returned."""
    folder = resolved(folder)
    config = {
        "format": FORMAT,
        "version": VERSION,
        "configuration": dictionary.method.to_json(),
        "reads": dictionary.read_widths,
        "writes": dictionary.write_widths,
        "each": dictionary.wiring.each,
        **({"layerwise": True} if dictionary.wiring.layerwise else {}),
        "provenance": dictionary.provenance.to_json(),
    }
    state = without_sharing(stored(dictionary))
    text = json.dumps(config, indent=1, default=dict)

    def write_both(path: Path) -> None:
        path.write_text(text, encoding="utf-8")
        write_atomically(folder / "weights.safetensors", lambda path: save_file(state, path))

    write_atomically(folder / "config.json", write_both)
    return folder
