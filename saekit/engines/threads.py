"""How many threads work gets: one for small products, which gain little by more and lose much on a busy machine.

Threads wait for each other after every product. Where another program has taken a core, each product takes as long as
that program keeps it, and of a small one that is most of the time: of a dictionary of 1,024 latents on micro nine
tenths. The number comes from shapes and from what the user allows alone, never from how busy the machine is; that of a
run stands in its config.json, that of a store in its manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from saekit.models import ROWS_AT_ONCE
from saekit.models.fast import POSITIONS_AT_ONCE

SMALL = 2**27
"""Multiplications in the largest product of a step, up to which one thread makes it."""
SHORT_ROW = 32  # tokens of a text that is not long


def threads_for(products: int, device: torch.device | str = "cpu") -> int:
    """One where the largest product on a CPU has at most SMALL multiplications, else as many as torch has now."""
    small = torch.device(device).type == "cpu" and products <= SMALL
    return 1 if small else torch.get_num_threads()


def products_of(model: Any, dictionary: Any = None) -> int:
    """Multiplications in the largest product while texts are read through a model, or several, and coded; 0 without."""
    if isinstance(model, Mapping):
        return max(products_of(own, dictionary) for own in model.values())
    shape = getattr(model, "cfg", None)
    width = getattr(shape, "d_model", None) or 0
    found = POSITIONS_AT_ONCE * width * (getattr(shape, "d_mlp", None) or 4 * width)
    if dictionary is None:
        return found
    return max(found, ROWS_AT_ONCE * SHORT_ROW * sum(dictionary.read_widths.values()) * dictionary.d_sae)


def some_left(threads: int, device: torch.device | str = "cpu") -> bool:
    """Whether a thread of Python's beside work with so many of torch's gains time: on a GPU, which works by itself, and
    on a CPU where torch may have more of them than the work takes."""
    return torch.device(device).type == "cuda" or threads < torch.get_num_threads()


@contextmanager
def working_with(threads: int) -> Iterator[None]:
    """torch has so many threads inside, and afterwards, whatever happened, as many as before."""
    before = torch.get_num_threads()
    if threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
