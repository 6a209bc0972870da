"""Placing: on which device a model lies and in which numbers, as people give them; and what may stand in the place of
an activation: a value at some tokens, the rest as it arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saekit.files.choices import unknown
from saekit.models.bridge import Change

OTHER_NAMES = {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "float": "float32"}
OTHER_NAMES |= {"f16": "float16", "f32": "float32", "f64": "float64", "fp64": "float64", "double": "float64"}
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def as_device(device: Any) -> torch.device:
    """The device: "cuda", "cuda:1", "mps", "cpu" or a torch.device, when this machine has it.

    Raises ValueError naming the closest of those that are here, TypeError for what is no device."""
    here = _devices()
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device is a string such as {here[0]!r}, found {device!r} (a {type(device).__name__}).")
    name = str(device).strip().lower()
    name = "cpu" if name == "cpu:0" else name
    if name not in here:
        if name == "gpu" and here != ["cpu"]:
            raise ValueError(f"device cannot be {device!r}; on this machine it is {here[0]!r}.")
        raise ValueError(unknown("device cannot be", str(device), here).replace("the only one is", "this machine has"))
    return torch.device(name)


def as_dtype(dtype: Any, among: Sequence[torch.dtype] = FLOATS) -> torch.dtype:
    """The kind of number: torch.float32, "float32", "bf16", np.float32.

    dtype: in any of these forms. among: those that are taken here. Raises ValueError naming the closest of them."""
    names = [str(each).removeprefix("torch.") for each in among]
    given = dtype if isinstance(dtype, str | torch.dtype) else getattr(dtype, "name", getattr(dtype, "__name__", dtype))
    name = str(given).removeprefix("torch.").strip().lower()
    name = OTHER_NAMES.get(name, name)
    if name not in names:
        raise ValueError(unknown("dtype cannot be", str(given), names))
    return among[names.index(name)]


def _devices() -> list[str]:
    """Those that this machine has, the fastest first."""
    fastest = torch.accelerator.current_accelerator(check_available=True)
    found = (
        []
        if fastest is None
        else [fastest.type, *(f"{fastest.type}:{n}" for n in range(torch.accelerator.device_count()))]
    )
    return [*found, "cpu"]


def put(value: Float[Tensor, "*shape"], where: Bool[Tensor, "row position"]) -> Change:
    """A replacement for ``forward``: the value at the tokens of a mask, the activation itself elsewhere. The value is
    [row, position, d], or expands to it; where heads come one by one they lie side by side in it."""

    def change(h: Tensor, seen: Mapping[str, Tensor]) -> Tensor:
        there = value.to(h).expand(*h.shape[:2], h.shape[2:].numel()).reshape(h.shape)
        return torch.where(where.to(h.device).view(*where.shape, *[1] * (h.ndim - 2)), there, h)

    return change
