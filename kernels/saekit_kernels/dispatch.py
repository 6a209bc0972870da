"""Which implementation runs: Triton on a GPU, the CPU path on a CPU, plain torch anywhere else or when asked for.

``with using("reference"):`` chooses for a block of code, the environment variable SAEKIT_KERNELS for a process. "auto",
the default, takes what the tensor's device allows; any other choice is kept to, or is an error that says why not.
"interpret", of the variable alone, runs the Triton kernels on a CPU in Triton's interpreter: slow, for tests.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

CHOICES = ("auto", "triton", "cpu", "reference")
VARIABLE = os.environ.get("SAEKIT_KERNELS", "auto")


class _Choice(threading.local):
    """Of a thread: what one chooses does not change what another runs. A backward pass, which autograd may run in a
    thread of its own, keeps the choice of its forward pass (operations.py)."""

    kernels = "auto"


_choice = _Choice()  # no context variable: torch.compile cannot read one


@contextmanager
def using(kernels: str) -> Iterator[None]:
    """Choose the implementation for the operations called inside. "auto" leaves what was chosen outside, if anything.

    Raises ValueError for another name than "auto", "triton", "cpu" or "reference"."""
    checked(kernels, CHOICES, "kernels")
    if kernels == "auto":
        yield
        return
    before, _choice.kernels = _choice.kernels, kernels
    try:
        yield
    finally:
        _choice.kernels = before


def chosen() -> str:
    """What was chosen here; "auto" where nothing was."""
    return _choice.kernels


def path_for(tensor: Tensor) -> str:
    """Which of triton, cpu and reference runs on this tensor; float64 on a GPU has the reference. Raises ValueError
    where a choice cannot be kept."""
    choice = chosen()
    if choice == "auto":
        choice = checked(VARIABLE, (*CHOICES, "interpret"), "SAEKIT_KERNELS")
    device = tensor.device.type
    if choice == "auto":
        if device == "cuda":
            if tensor.dtype == torch.float64:  # which the kernels do not read
                return "reference"
            return "triton" if _triton() else _without_triton()
        return "cpu" if device == "cpu" else "reference"
    if choice == "interpret":
        os.environ["TRITON_INTERPRET"] = "1"
        return "triton"
    if choice == "cpu" and device != "cpu":
        raise ValueError(f"kernels='cpu' was asked for, but the tensors are on {tensor.device}: use 'auto'.")
    if choice == "triton" and (device != "cuda" or not _triton()):
        cause = "Triton is not installed" if device == "cuda" else f"the tensors are on {tensor.device}, not on a GPU"
        raise ValueError(f"kernels='triton' was asked for, but {cause}: use 'auto'.")
    return choice


def checked(name: str, choices: tuple[str, ...], what: str) -> str:
    """The name, if it is among the choices; else ValueError."""
    if name not in choices:
        raise ValueError(f"{what} is {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}, found {name!r}.")
    return name


@functools.cache
def _triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache  # said once
def _without_triton() -> str:
    warnings.warn("Triton is not installed: the operations on this GPU run in plain torch.", stacklevel=3)
    return "reference"
