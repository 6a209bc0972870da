"""A checkpoint: one safetensors file, with its numbers beside the tensors. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saekit.files.writing import write_atomically


def write_tensors(file: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Write tensors and, in the file's metadata, numbers (what JSON can hold). Raises NotWritten."""
    apart = without_sharing(tensors)
    write_atomically(file, lambda path: save_file(apart, path, metadata={"numbers": json.dumps(numbers)}))


def without_sharing(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors on the CPU as a safetensors file takes them: contiguous, no two in the same memory. Only those
    that are not so already are copied."""
    found: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        found[name] = tensor.clone() if memory in taken else tensor
        taken.add(memory)
    return found


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What write_tensors wrote. Raises ValueError where the file is not whole."""
    try:
        with safe_open(file, framework="pt") as opened:
            numbers = json.loads(opened.metadata()["numbers"])
            return {name: opened.get_tensor(name) for name in opened.keys()}, numbers  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not a whole checkpoint ({error}); delete it to begin anew.") from error


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: prefix, number of the parameter, name."""
    return {
        f"{prefix}{index}/{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    """Put back what ``optimizer_tensors`` named, into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in below(tensors, prefix).items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
