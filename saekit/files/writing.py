"""Writing that survives a kill: a file appears whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

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
    except (OSError, _safetensors_error()) as error:
        raise NotWritten(path, _cause(error)) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError  # here, so that corpora need the standard library alone

    return SafetensorError


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
