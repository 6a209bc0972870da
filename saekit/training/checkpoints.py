"""Checkpoints: everything the loop needs to go on as if never stopped, in one safetensors file that appears whole."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saekit.activations import ActivationStream, ArrayStream, StreamState
from saekit.dictionaries.contract import Dictionary
from saekit.models.safely import below, optimizer_tensors, read_tensors, restore_optimizer, write_tensors


def write_checkpoint(
    file: Path,
    dictionary: Dictionary,
    optimizer: torch.optim.Optimizer,
    stream: StreamState,
    since_fired: Tensor,
    numbers: dict[str, Any],
) -> None:
    tensors = {f"dictionary/{name}": t for name, t in dictionary.state_dict().items()}
    tensors |= optimizer_tensors(optimizer, "optimizer/")
    tensors |= {f"carried/{site}": t for site, t in stream.carried.items()}
    tensors["since_fired"] = since_fired
    numbers = numbers | {"documents": stream.documents, "chunk": stream.chunk, "batches": stream.batches}
    write_tensors(file, tensors, numbers)


def read_checkpoint(
    file: Path, dictionary: Dictionary, optimizer: torch.optim.Optimizer
) -> tuple[StreamState, Tensor, dict[str, Any]]:
    """Put dictionary and optimizer back; return the stream's state, the dead count and the numbers."""
    tensors, numbers = read_tensors(file)
    dictionary.load_state_dict(below(tensors, "dictionary/"))
    restore_optimizer(optimizer, tensors, "optimizer/")
    stream = StreamState(numbers["documents"], numbers["chunk"], numbers["batches"], below(tensors, "carried/"))
    return stream, tensors["since_fired"], numbers


def describe_source(stream: ActivationStream | ArrayStream) -> dict[str, Any]:
    """The stream's provenance; for an array or a token tensor, which have no name, a hash of a thousand of its rows."""
    array = stream.x if isinstance(stream, ArrayStream) else stream.source
    if not isinstance(array, Tensor):
        return stream.provenance
    rows = array.detach()[:: max(1, len(array) // 1000)].cpu().contiguous()
    digest = hashlib.sha256(f"{list(array.shape)} {array.dtype}".encode() + rows.view(torch.uint8).numpy().tobytes())
    return stream.provenance | {"array": digest.hexdigest()}
