"""Registering an operation with torch, so that autograd and torch.compile see it whole.

What `torch.library.custom_op` does, without what it loads at the first call (torch's compiler, seconds on a laptop).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from saekit_kernels.dispatch import chosen, using


def operation(
    function: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
) -> Callable[..., Any]:
    """`function` as the operation saekit::its_name; its parameters are annotated as torch.library.infer_schema wants.

    fake:     makes outputs of the right shape without computing them.
    backward: with `setup_context`, as for torch.library.register_autograd; without it there is no gradient.
    """
    name = f"saekit::{function.__name__}"
    torch.library.define(name, torch.library.infer_schema(function, mutates_args=()))
    torch.library.impl(name, "CompositeExplicitAutograd")(function)
    torch.library.register_fake(name)(fake)
    if backward is not None:
        torch.library.register_autograd(name, _as_chosen(backward), setup_context=_noting(setup_context))
    return getattr(torch.ops.saekit, function.__name__)


def _noting(setup_context: Callable[..., None] | None) -> Callable[..., None]:
    """The same, which also keeps which implementation was chosen."""

    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        if setup_context is not None:
            setup_context(ctx, inputs, output)
        ctx.kernels = chosen()

    return setup


def _as_chosen(backward: Callable[..., Any]) -> Callable[..., Any]:
    """The same, run as its forward pass was."""

    def run(ctx: Any, *gradients: Any) -> Any:
        with using(ctx.kernels):
            return backward(ctx, *gradients)

    return run
