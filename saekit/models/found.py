"""What was found out about a model by running it, kept for as long as the model is as it was.

A model is another one when its weights lie elsewhere or were changed in place, when a ``set_use_…`` was turned, when
its processing changed, when it is run under autocast, and when somebody's torch hook or a ``forward`` of their own
stands on one of its modules. Hooks on TransformerLens's hook points and on the model as a whole make no difference:
what is found out is found out without them (``saekit.models.state.alone``).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules import module as every_module

from saekit.models.state import whole_and_points

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

_found: WeakKeyDictionary[object, tuple[tuple[Any, ...], dict[str, dict[Any, Any]]]] = WeakKeyDictionary()


def found(model: TransformerBridge, what: str) -> dict[Any, Any]:
    """What is known so far of the model as it is now, to be added to: empty once the model has changed."""
    now = as_it_is(model)
    if model not in _found or _found[model][0] != now:
        _found[model] = (now, {})
    return _found[model][1].setdefault(what, {})


def as_it_is(model: TransformerBridge) -> tuple[Any, ...]:
    """Equal as long as the same is to be found out about a model."""
    left_out = {id(module) for module in whole_and_points(model)}
    flags = tuple(sorted((name, value) for name, value in vars(model.cfg).items() if name.startswith("use_")))
    weights, others = list[Any](), list[Any](_hooks(every_module, "_global_forward"))
    for module in model.original_model.modules():
        weights += [_weight(parameter) for parameter in module._parameters.values() if parameter is not None]
        if id(module) not in left_out:
            others += [(id(module), hook) for hook in _hooks(module, "_forward")]
            if "forward" in module.__dict__:
                others.append((id(module), weakref.ref(module.__dict__["forward"])))
    cast = torch.is_autocast_enabled(torch.device(model.cfg.device or "cpu").type)
    return (flags, getattr(model, "processing", "none"), cast, tuple(weights), tuple(others))


def hooks_on(model: TransformerBridge) -> bool:
    """Whether somebody has a hook on any module of the model, hook points included."""
    points = whole_and_points(model)
    if any(p._forward_hooks or p._forward_pre_hooks or p._backward_hooks or p._backward_pre_hooks for p in points):
        return True
    ways = ("_forward", "_backward")
    modules = model.original_model.modules()
    return any(_hooks(every_module, f"_global{way}") for way in ways) or any(
        _hooks(module, way) for module in modules for way in ways
    )


def hooked_places(model: TransformerBridge) -> list[str]:
    """The names of hook points and modules on which somebody has a forward hook, sorted."""
    points = [name for name, point in model.hook_dict.items() if point._forward_hooks or point._forward_pre_hooks]
    modules = [name for name, module in model.original_model.named_modules() if _hooks(module, "_forward")]
    return sorted({*points, *modules})


def _weight(parameter: nn.Parameter) -> tuple[int, int]:
    return parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version


def _hooks(module: Any, way: str) -> list[int]:
    """The numbers of the hooks, which torch gives no second time; without those that the libraries put there."""
    given = {**getattr(module, f"{way}_pre_hooks"), **getattr(module, f"{way}_hooks")}
    return [number for number, hook in given.items() if not _of_a_library(hook)]


def _of_a_library(hook: Any) -> bool:
    return (getattr(hook, "__module__", None) or "").startswith(("transformer_lens.", "transformers.", "accelerate."))
