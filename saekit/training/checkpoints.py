"""Checkpoints: everything the loop needs to go on as if never stopped, in one safetensors file that appears whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saekit.activations import StreamState
from saekit.dictionaries import write_atomically
from saekit.dictionaries.contract import Dictionary


def write_checkpoint(
    file: Path,
    dictionary: Dictionary,
    optimizer: torch.optim.Optimizer,
    stream: StreamState,
    since_fired: Tensor,
    numbers: dict[str, Any],
) -> None:
    tensors = {f"dictionary/{name}": t for name, t in dictionary.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(t) for name, t in state.items()}
    tensors |= {f"carried/{site}": t for site, t in stream.carried.items()}
    tensors["since_fired"] = since_fired
    numbers = numbers | {"documents": stream.documents, "chunk": stream.chunk, "batches": stream.batches}
    # A copy, since a safetensors file refuses tensors that share memory.
    tensors = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    write_atomically(file, lambda path: save_file(tensors, path, metadata={"numbers": json.dumps(numbers)}))


def read_checkpoint(
    file: Path, dictionary: Dictionary, optimizer: torch.optim.Optimizer
) -> tuple[StreamState, Tensor, dict[str, Any]]:
    """Put dictionary and optimizer back; return the stream's state, the dead count and the numbers."""
    try:
        with safe_open(file, framework="pt") as opened:
            numbers = json.loads(opened.metadata()["numbers"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{file} is not a whole checkpoint ({error}); train with resume=False to begin anew."
        ) from error

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    dictionary.load_state_dict(part("dictionary/"))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part("optimizer/").items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    stream = StreamState(numbers["documents"], numbers["chunk"], numbers["batches"], part("carried/"))
    return stream, tensors["since_fired"], numbers
