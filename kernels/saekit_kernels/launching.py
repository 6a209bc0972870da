"""What the launchers of the Triton kernels share: checks of tensors, the device, the width of a program's block.

A program works on blocks of powers of two. A row of D numbers is walked in blocks of `block_width(D)`, the last one
masked, so any D is served. Under TRITON_INTERPRET=1 (numpy runs the kernels, on a CPU) blocks are small.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def interpreted() -> bool:
    """Whether kernels run under Triton's interpreter; the variable is read when triton is first imported."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "y", "yes")


def power_above(n: int) -> int:
    """The smallest power of two that is n or more."""
    return 1 << max(n - 1, 0).bit_length()


def block_width(d: int, most: int = 512) -> int:
    """Numbers of a row that a program holds at a time: a power of two, `most` or less."""
    return min(power_above(d), 64 if interpreted() else most)


def group_size() -> int:
    """Entries of a row that a program reads at a time: their loads are in flight together."""
    return 4 if interpreted() else 8


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Kernels start on the current device: make it the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def check_floats(**tensors: Tensor) -> None:
    """Raise TypeError for a tensor that the kernels do not read (they accumulate in float32)."""
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS:
            raise TypeError(
                f"{name} is {str(tensor.dtype).removeprefix('torch.')}, and the kernels read float32, bfloat16 and "
                "float16: pass float32, or use the reference."
            )


def check_rows(**tensors: Tensor) -> None:
    """Raise ValueError for a matrix to be written in place that is not stored row by row. What is read is copied."""
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(
                f"{name} of shape {tuple(tensor.shape)} has strides {tensor.stride()}, and the kernels read "
                f"contiguous rows: pass {name}.contiguous()."
            )


def check_width(d: int, **tensors: Tensor) -> None:
    """Raise ValueError for rows that are not d wide."""
    for name, tensor in tensors.items():
        if tensor.shape[-1] != d:
            raise ValueError(f"rows of {name} are {tensor.shape[-1]} wide, and the directions are {d} wide.")
