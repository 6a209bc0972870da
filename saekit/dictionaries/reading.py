"""saekit's own format, read: a folder with ``config.json`` and ``weights.safetensors`` (see ``storage``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from saekit.dictionaries.cross_layer import built
from saekit.dictionaries.dictionary import Dictionary
from saekit.dictionaries.method import Method
from saekit.dictionaries.provenance import Provenance
from saekit.dictionaries.storage import FORMAT, VERSION, latents_in, stored
from saekit.dictionaries.wiring import Wiring
from saekit.files.paths import resolved


def read_dictionary(folder: str | Path, dtype: torch.dtype = torch.float32) -> Dictionary:
    """Load a dictionary saved by ``write_dictionary``, its weights frozen, in ``dtype``.

    folder: that it was saved in.
    Raises ValueError naming the file, the key, what was expected and what was found.
    """
    folder = resolved(folder)
    file, weights = folder / "config.json", folder / "weights.safetensors"
    config = _config(file)
    try:
        dictionary = _built(config).to(dtype)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} does not describe a dictionary: {error}") from error
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{weights} is missing, cut or not a safetensors file ({error}).") from error
    grown = latents_in(state)
    if grown and grown != dictionary.d_sae and type(dictionary).resize is not Dictionary.resize:
        dictionary.resize(grown)
    expected = stored(dictionary)
    _check_tensors(state, expected, weights)
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(state[name])
    return dictionary.eval().requires_grad_(False)


def _config(file: Path) -> dict[str, Any]:
    """What a config.json says. Raises ValueError where it is not that of a dictionary this saekit reads."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is not a readable JSON file ({error}).") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"{file} is not a saekit dictionary: expected format {FORMAT!r}, found {found!r}.")
    if config.get("version") != VERSION:
        raise ValueError(f"{file} has version {config.get('version')}, this saekit reads version {VERSION}.")
    for key in ("configuration", "reads", "writes", "provenance"):
        if key not in config:
            raise ValueError(f"{file} lacks {key!r}.")
    return config


def _check_tensors(state: dict[str, Tensor], expected: dict[str, Tensor], file: Path) -> None:
    """Raise ValueError for a tensor of the file that is missing, of another shape, or one too many."""
    for name, tensor in expected.items():
        if name not in state:
            raise ValueError(f"{file} lacks {name!r} of shape {list(tensor.shape)}; it holds {', '.join(state)}.")
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{file}: {name!r} should have shape {list(tensor.shape)}, found {list(state[name].shape)}."
            )
    if surplus := [name for name in state if name not in expected]:
        raise ValueError(f"{file} holds {surplus[0]!r}, which this dictionary has not.")


def _built(config: dict[str, Any]) -> Dictionary:
    """The dictionary that a config describes, its weights drawn only to be replaced."""
    reads, writes = config["reads"], config["writes"]
    wiring = Wiring(list(reads), list(writes), bool(config.get("each")), bool(config.get("layerwise")))
    with torch.random.fork_rng(devices=[]):
        dictionary = built(Method.from_json(config["configuration"]), wiring, dict(reads) | dict(writes))
    dictionary.provenance = Provenance(**config["provenance"])
    return dictionary
