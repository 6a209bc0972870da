"""What a training step would launch on a GPU, and how often the host would wait for it, counted without a GPU.

    python kernels/benchmarks/gpu.py --count

The step runs on the CPU at a tiny shape, on the path of the Triton kernels, whose launches are counted and not made. An
aten call counts where it would start a kernel or a copy: views, empty tensors and questions about shapes do not. Many a
call is more kernels than one (a sort), so the count is the code's and not the card's; the few lines that ask whether
they are on a CPU take the CPU's way. Where the host asks for a number (`.item()`, `nonzero`) it would wait for the
device: the line that asks is kept.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_stages.shapes import Shape, named

SHAPE: Shape = (16, 8, 32, 2)
ROOT = Path(__file__).resolve().parents[3]
NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "detach", "alias", "resize_", "_local_scalar_dense"}
NO_KERNEL |= {"set_", "lift_fresh", "_record_function_enter_new", "_record_function_exit"}
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"}


class Counts(NamedTuple):
    """aten, triton: how often each was called; waits: where the host would wait, "file:line what"."""

    aten: Counter[str]
    triton: Counter[str]
    waits: list[str]


class Counting(TorchDispatchMode):
    """Counts calls; of saekit's own operations what they are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts(Counter(), Counter(), [])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "saekit":
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args, **kwargs)
        name = func._schema.name.partition("::")[2]
        if name in WAITS or (name == "index" and any(_mask(each) for each in args[1])):
            self.counts.waits.append(f"{asked()} {name}")
        views = any(each.alias_info is not None and not each.alias_info.is_write for each in func._schema.returns)
        if not views and name not in NO_KERNEL:
            self.counts.aten[name] += 1
        return func(*args, **kwargs)


def _mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def asked() -> str:
    """The innermost line of the repository that is being run, these files left out."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.parent.name != "gpu_stages" and "site-packages" not in path.parts:
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return "?"


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """Everything inside runs on the path of the Triton kernels; their launches are counted, their outputs zero."""
    from saekit_kernels import dispatch, sparse_codes
    from triton.runtime.jit import JITFunction

    mode, empty = Counting(), torch.empty

    def launched(self: Any, *_: Any, **__: Any) -> None:
        mode.counts.triton[self.__name__] += 1

    def zeros(*arguments: Any, **settings: Any) -> Tensor:
        made = empty(*arguments, **settings)
        with torch.utils._python_dispatch._disable_current_modes():
            return made.zero_()

    patches = (
        mock.patch.object(JITFunction, "run", launched),
        mock.patch.object(torch, "empty", zeros),
        mock.patch.object(dispatch, "VARIABLE", "interpret"),  # the Triton path on a CPU
        mock.patch.object(sparse_codes, "check_latents", lambda *_: None),  # which a GPU's codes are not asked
        mock.patch.dict(os.environ),
    )
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(mode)
        yield mode.counts


def step(dead: float, shape: Shape = SHAPE) -> Counts:
    """Of one TopK training step with a share of the latents dead; what only the first step does is left out."""
    import saekit_kernels.batch_top_k.triton
    import saekit_kernels.decode.triton
    import saekit_kernels.latent_gradients.triton
    import saekit_kernels.top_k.triton  # noqa: F401, so that Triton is there before the variable is set

    from gpu_stages.learners import learner_for, stepper

    learner = learner_for(shape, "cpu")
    run = stepper(learner, torch.ones(shape[0], shape[1]), dead)
    with counting() as counts:
        run()
        for each in counts:
            each.clear()
        run()
    counts.aten["fill_"] -= 1  # the harness's own, which holds latents dead
    return counts


def shown(dead: float, counts: Counts) -> str:
    """In a few lines."""
    aten, triton = counts.aten.total(), counts.triton.total()
    lines = [f"{named(SHAPE)}, {dead:.0%} dead: {aten} aten calls, {triton} Triton launches, {len(counts.waits)} waits"]
    lines += ["  " + ", ".join(f"{name} {times}" for name, times in each.most_common() if times) for each in counts[:2]]
    return "\n".join([*lines, *(f"  waits: {where}" for where in counts.waits)])


def report() -> str:
    """Without dead latents and with."""
    return "\n".join(shown(share, step(share)) for share in (0.0, 0.25))
