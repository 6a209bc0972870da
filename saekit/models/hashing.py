"""model_hash: a fingerprint of a checkpoint's weights, so that a dictionary is never put on another model unnoticed.

SHA-256 over the weights as stored, before any library touches them: tensors by name in sorted order, and of each its
name, dtype, shape and bytes. It does not depend on how the file is cut into shards, on the order in it, or on the
dtype a model is later run in.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.models.found import hooked_places

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def hash_tensors(names: list[str], read: Callable[[str], Tensor]) -> str:
    """SHA-256 over tensors: of each in sorted order, ``name dtype shape`` as text, then its bytes."""
    digest = hashlib.sha256()
    for name in sorted(names):
        tensor = read(name).detach().cpu().contiguous()
        digest.update(f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_checkpoint(folder: str | Path) -> str:
    """The model_hash of a Hugging Face folder (safetensors, whole or in shards, or ``pytorch_model.bin``).

    Raises FileNotFoundError when the folder holds no weights, ValueError when a file is cut or not what its name says.
    """
    folder = Path(folder)
    with ExitStack() as stack:
        tensors: dict[str, Callable[[str], Tensor]] = {}
        for file in _weight_files(folder):
            for name, read in _readers(file, stack):
                tensors[name] = read
        return hash_tensors(list(tensors), lambda name: tensors[name](name))


def fingerprint_model(model: TransformerBridge | Mapping[str, TransformerBridge]) -> dict[str, Any]:
    """What decides a model's activations, as it is now: SHA-256 of its weights and of its configuration, its precision,
    the length of its context, and the hooks that stand on it; of several models by their names."""
    if isinstance(model, Mapping):
        return {name: fingerprint_model(own) for name, own in model.items()}
    original: Any = model.original_model
    state = {name.replace("._original_component", ""): tensor for name, tensor in original.state_dict().items()}
    config = original.config.to_dict()
    told = {name: value for name, value in config.items() if not name.startswith("_") and name not in _OF_THE_FILE}
    return {
        "weights": hash_tensors(list(state), lambda name: state[name]),
        "configuration": hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest(),
        "dtype": str(next(original.parameters()).dtype).removeprefix("torch."),
        "context": model.cfg.n_ctx,
        "hooks": hooked_places(model),
    }


_OF_THE_FILE = ("transformers_version", "dtype", "torch_dtype", "architectures")
"""Entries of a configuration that say nothing about what the model computes, or are said beside it."""


def _weight_files(folder: Path) -> list[Path]:
    for kind in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{kind}.index.json"
        if index.is_file():
            return _shards(index)
        if (folder / kind).is_file():
            return [folder / kind]
    raise FileNotFoundError(f"{folder} holds no model.safetensors and no pytorch_model.bin.")


def _shards(index: Path) -> list[Path]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} has no weight_map of tensors to files: copy or download it again.") from error
    return [index.parent / name for name in sorted(set(names))]


def _readers(file: Path, stack: ExitStack) -> Iterator[tuple[str, Callable[[str], Tensor]]]:
    if file.suffix == ".bin":
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            raise ValueError(f"{file} is not a whole file of tensors: copy or download it again.") from error
        yield from ((name, state.__getitem__) for name in state)
        return
    from safetensors import SafetensorError, safe_open

    try:
        opened = stack.enter_context(safe_open(file, framework="pt"))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is not a whole safetensors file ({error}): copy or download it again.") from error
    yield from ((name, opened.get_tensor) for name in opened.keys())  # noqa: SIM118 (safe_open is no dict)
