"""Activations of any module (a vision model, a network of one's own): the outputs of named submodules on inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from saekit.activations.finite import check_finite
from saekit.files.choices import unknown
from saekit.files.progress import Bar
from saekit.models.state import evaluation

INPUTS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class ModuleActivations(Mapping[str, Tensor]):
    """Outputs by module name, on the CPU: ``acts[name]`` is [n, …] as the module gives it; ``acts.flat(name)`` is
    [n · …, d], one row a place, with dimension ``channels`` of the output as d.

    outputs: the tensors by module name."""

    outputs: dict[str, Tensor]
    channels: int = -1

    def flat(self, name: str) -> Tensor:
        """[n · …, d]. Raises ValueError where the output has no dimension ``channels``."""
        x = self[name]
        if not -x.ndim <= self.channels < x.ndim:
            raise ValueError(f"{name!r} gives {x.ndim} dimensions, and channels={self.channels} is none of them.")
        x = x.movedim(self.channels, -1)
        return x.reshape(-1, x.shape[-1])

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.outputs:
            raise KeyError(unknown("there is nothing harvested at", name, self.outputs))
        return self.outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __repr__(self) -> str:
        return f"ModuleActivations({', '.join(f'{name}: {list(x.shape)}' for name, x in self.outputs.items())})"


def harvest_module(
    module: nn.Module,
    inputs: Tensor,
    names: Sequence[str] | str,
    *,
    batch_size: int = INPUTS_AT_ONCE,
    channels: int = -1,
) -> ModuleActivations:
    """Run a module over inputs [n, …] and keep what its submodules give; of a tuple the first. Also called by
    ``harvest`` for every module that is no language model of the kit.

    names:    as in ``module.named_modules()``.
    channels: where d is in the outputs: the last dimension, or 1 for images, [n, channels, height, width].
    A submodule called several times in a forward pass is kept as it was the first time. In evaluation mode (put back
    afterwards), without gradients, stopping after the last submodule needed.
    batch_size: inputs at a time.
    Raises ValueError for an unknown name (naming the closest), no inputs, one that is not called or gives no tensor
    with a row an input, and for NaN or infinite outputs (naming the batch).
    """
    names = list(dict.fromkeys([names] if isinstance(names, str) else names))
    known = dict(module.named_modules())
    for name in names:
        if name not in known:
            raise ValueError(unknown("the module has no submodule", name, known))
    if not names or not isinstance(inputs, Tensor) or not inputs.ndim or not len(inputs):
        found = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ValueError(f"a module is read at named submodules on inputs [n, …], n ≥ 1, found {names} and {found}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}.")
    weight = next(module.parameters(), None)
    device = inputs.device if weight is None else weight.device
    pieces: dict[str, list[Tensor]] = {name: [] for name in names}
    starts = range(0, len(inputs), batch_size)
    bar = Bar(starts, "harvest", leave=False, unit=" batch")
    for number, start in enumerate(bar):
        part = inputs[start : start + batch_size].to(device)
        for name, x in _forward(module, part, {name: known[name] for name in names}).items():
            if x.ndim < 2 or len(x) != len(part):
                raise ValueError(f"{name!r} gives {tuple(x.shape)} for {len(part)} inputs: it has no row for each.")
            check_finite(x, name, number)
            pieces[name].append(x.cpu())
    return ModuleActivations({name: torch.cat(parts) for name, parts in pieces.items()}, channels)


class _Done(Exception):
    """Raised in a hook once everything wanted was seen: what comes later need not run."""


def _forward(module: nn.Module, part: Tensor, wanted: dict[str, nn.Module]) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(name: str, out: Any) -> None:
        x = out[0] if isinstance(out, tuple | list) and out else out
        if not isinstance(x, Tensor):
            raise ValueError(f"{name!r} gives a {type(x).__name__}, not a tensor: choose another submodule.")
        seen.setdefault(name, x.detach().clone())  # what follows may write into it
        if len(seen) == len(wanted):
            raise _Done

    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluation(module))
        stack.enter_context(torch.no_grad())
        for name, submodule in wanted.items():
            handle = submodule.register_forward_hook(lambda m, given, out, name=name: keep(name, out))
            stack.callback(handle.remove)
        with contextlib.suppress(_Done):
            module(part)
    for name in wanted:
        if name not in seen:
            raise ValueError(f"submodule {name!r} is not called in a forward pass: choose another one.")
    return {name: seen[name] for name in wanted}
