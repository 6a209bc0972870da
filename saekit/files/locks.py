"""One writer a folder: whoever comes second is told who is there."""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

LOCK, WRITER = ".lock", ".writer.json"


class InUse(RuntimeError):
    """Another process, or another call in this one, writes in the folder."""


@contextmanager
def writing_in(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder that exists as its only writer; the system lets go of it when the process ends, however it ends.

    what: such as "run", for the sentence. Raises InUse saying who is there: process, machine, since when."""
    lock, writer = FileLock(folder / LOCK), folder / WRITER
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InUse(
            f"{folder} is in use: {_who(writer)} writes this {what}. Wait until it is done, or choose another folder."
        ) from None
    except NotImplementedError:  # a file system without locks
        warnings.warn(f"{folder} cannot be locked there: see to it that one process alone writes it.", stacklevel=4)
        yield
        return
    try:
        here = {"process": os.getpid(), "machine": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        writer.write_text(json.dumps(here), encoding="utf-8")
        yield
    finally:
        writer.unlink(missing_ok=True)
        lock.release()


def writer_in(folder: Path) -> str | None:
    """Who writes in a folder now, such as "process 12 on host, since 2026-01-02 15:04:05"; None where nobody does."""
    if not (folder / WRITER).is_file():
        return None
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _who(folder / WRITER).rstrip(",")
    except (OSError, NotImplementedError):  # neither can be told there
        return None
    lock.release()
    return None


def _who(writer: Path) -> str:
    try:
        found = json.loads(writer.read_text(encoding="utf-8"))
        there = " (this one)" if (found["process"], found["machine"]) == (os.getpid(), socket.gethostname()) else ""
        return f"process {found['process']}{there} on {found['machine']}, since {found['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
