"""What memory a device has left, as far as that is known, and how it is told that it did not suffice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
WORDS = (
    "can't allocate memory",  # torch on a CPU: Linux
    "not enough memory: you tried to allocate",  # macOS, Windows
    "out of memory",  # CUDA's own, MPS
    "ALLOC_FAILED",  # cuBLAS
    "bad_alloc",
)


class Room(NamedTuple):
    """Memory of a device in bytes: free for this process; total: all there is, on a CPU with what may be swapped."""

    free: int
    total: int


class NotEnoughMemory(MemoryError):
    """Memory ran out; the message says what would have fitted."""


def room_on(device: torch.device) -> Room | None:
    """What a device has left; None where that is not known. What torch keeps for later counts as free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Room(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total)
    if device.type == "mps":
        total = torch.mps.recommended_max_memory()
        return Room(max(0, total - torch.mps.current_allocated_memory()), total)
    return _room_of_cpu() if device.type == "cpu" else None


def _room_of_cpu() -> Room:
    """The least that the system, the container and the process's own limit leave."""
    import psutil

    memory = psutil.virtual_memory()
    left = [memory.available, *_left_in_groups(GROUPS, OWN), *_left_of_addresses()]
    return Room(max(0, min(left)), memory.total + psutil.swap_memory().total)


def _left_in_groups(groups: Path, own: Path) -> Iterator[int]:
    """What the limits of the control groups of this process leave (Linux, containers): of its own and those above."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, name = line.split(":", 2)
        if number == "0" and not controllers:  # version 2
            files, root = ("memory.max", "memory.current"), groups
        elif "memory" in controllers.split(","):
            files, root = ("memory.limit_in_bytes", "memory.usage_in_bytes"), groups / "memory"
        else:
            continue
        folder = root / name.lstrip("/")
        for place in (folder, *folder.parents):
            try:
                limit, used = ((place / file).read_text().strip() for file in files)
                statistics = dict(row.split() for row in (place / "memory.stat").read_text().splitlines())
            except OSError:
                limit = "max"
            if limit != "max":
                cached = statistics.get("total_inactive_file", statistics.get("inactive_file", 0))  # given up at need
                yield int(limit) - int(used) + int(cached)
            if place == root:
                break


def _left_of_addresses() -> Iterator[int]:
    """What ``ulimit -v`` leaves, as clusters set it (Linux)."""
    if sys.platform != "linux":
        return
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: torch's and numpy's ways on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


@contextmanager
def saying_what_fits(sentence: Callable[[], str]) -> Iterator[None]:
    """Where memory runs out inside, raise NotEnoughMemory with the sentence, from the error; one that was told already
    stays."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, NotEnoughMemory) or not ran_out(error):
            raise
        raise NotEnoughMemory(sentence()) from error
