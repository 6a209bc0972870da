"""Writing that survives a kill, without pickle: a file appears whole or not at all, a training step is never half made,
and a checkpoint is one safetensors file with its numbers beside the tensors."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_ROOM = re.compile(r"\..+\.(json|jsonl|safetensors|parquet)\.[0-9]+", re.DOTALL)
"""What write_atomically calls its temporary folders: a dot, the file's name, the number of the process."""


class NotWritten(OSError):
    """A file that could not be written: its path, the system's reason, and what that means."""

    def __init__(self, file: Path, cause: str, meaning: str = "what it held before is kept; make room there") -> None:
        super().__init__(f"{file} could not be written ({cause}): {meaning}.")
        self.file, self.cause = file, cause


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a file in a temporary folder beside ``path``, flush it to the disk, rename it into place.

    Raises NotWritten, an OSError, where the disk is full or refuses; nothing temporary stays behind then."""
    room = path.with_name(f".{path.name}.{os.getpid()}")  # a folder, since safetensors makes a temporary file beside
    temporary = room / path.name
    try:
        make_folder(path.parent)
        room.mkdir(exist_ok=True)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(_usual_mode(room))  # safetensors writes for its owner alone
        os.replace(temporary, path)
    except NotWritten:
        raise
    except (OSError, SafetensorError) as error:
        raise NotWritten(path, _cause(error)) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _cause(error: Exception) -> str:
    """The system's own words, such as "No space left on device"."""
    words = getattr(error, "strerror", None) or str(error)
    return words.rpartition("I/O error: ")[2]


def append_lines(file: Path, lines: list[str]) -> None:
    """Raises NotWritten where the disk is full or refuses; the last line may then be cut."""
    try:
        with open(file, "a", encoding="utf-8") as opened:
            opened.writelines(line + "\n" for line in lines)
    except OSError as error:
        raise NotWritten(file, _cause(error)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what ``write_atomically`` left in a folder and the folders in it when its process was killed. Only for a
    folder that one process writes at a time."""
    for place in (folder, *(path for path in folder.glob("*") if path.is_dir() and not path.is_symlink())):
        for path in place.glob(".*"):
            if _ROOM.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """The folder and those above it. Raises NotWritten where a file is in the way or the system refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotWritten(folder, _cause(error), "choose another folder") from error


def _usual_mode(room: Path) -> int:
    """The permissions of a new file there. Asking for the umask would set it for all threads, so a file is made."""
    new = room / ".mode"
    new.touch()
    return stat.S_IMODE(new.stat().st_mode)


def write_tensors(file: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    # Copies, since a safetensors file refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_atomically(file, lambda path: save_file(copies, path, metadata={"numbers": json.dumps(numbers)}))


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
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in below(tensors, prefix).items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


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
