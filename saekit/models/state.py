"""States that a model is in while it is read, each put back afterwards, also on an error."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Dropout off; the mode of every part of the model is put back."""
    were = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was in were.items():
            module.training = was


@contextmanager
def frozen(*models: nn.Module) -> Iterator[None]:
    """The parameters are constants: a graph that is built meanwhile has no gradient for them."""
    # A bridge's own parameters() leaves out what it made itself, such as the parts of a joint query-key-value matrix.
    found = {p for model in models for module in model.modules() for p in module._parameters.values() if p is not None}
    learn = [parameter for parameter in found if parameter.requires_grad]
    for parameter in learn:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learn:
            parameter.requires_grad_(True)


@contextmanager
def alone(model: TransformerBridge) -> Iterator[None]:
    """Nobody's hooks: those on the hook points and on the whole model are taken away, so that what is found out about
    a model is about the model, and not about it and an edit that somebody has on it."""
    modules = whole_and_points(model)
    taken = [(module, module._forward_hooks, module._forward_pre_hooks) for module in modules]
    for module in modules:
        module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for module, hooks, before in taken:
            module._forward_hooks, module._forward_pre_hooks = hooks, before


def whole_and_points(model: TransformerBridge) -> list[nn.Module]:
    """The model as a whole, and TransformerLens's hook points in it."""
    points = {id(point): point for point in model.hook_dict.values()}.values()
    return [*points, model, model.original_model]


@contextmanager
def unstopped(model: TransformerBridge) -> Iterator[None]:
    """A pass goes on to its end, though its call said after which block to stop (``stop_at_layer``)."""
    stops = [(block, block._stop_at_layer_idx) for block in model.blocks if hasattr(block, "_stop_at_layer_idx")]
    for block, _ in stops:
        block._stop_at_layer_idx = None
    try:
        yield
    finally:
        for block, stop in stops:
            block._stop_at_layer_idx = stop
