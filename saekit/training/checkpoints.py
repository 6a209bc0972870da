"""Checkpoints: everything the loop needs to go on as if never stopped, in one safetensors file that appears whole."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saekit.activations import ActivationStream, ArrayStream, StreamState
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
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not a whole checkpoint ({error}); delete it to begin anew.") from error

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


def describe_source(stream: ActivationStream | ArrayStream) -> dict[str, Any]:
    """The stream's provenance; for an array or a token tensor, which have no name, a hash of a thousand of its rows."""
    array = stream.x if isinstance(stream, ArrayStream) else stream.source
    if not isinstance(array, Tensor):
        return stream.provenance
    rows = array.detach()[:: max(1, len(array) // 1000)].cpu().contiguous()
    digest = hashlib.sha256(f"{list(array.shape)} {array.dtype}".encode() + rows.view(torch.uint8).numpy().tobytes())
    return stream.provenance | {"array": digest.hexdigest()}


@contextmanager
def whole_step() -> Iterator[None]:
    """Ctrl-C or a notebook's stop button waits until the block is done, so that no step is half made."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        before(*received[0])
