"""One forward pass that keeps the activations at some hooks, and what every reading of a model needs around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from saekit.activations.fast import fast_path
from saekit.models import site_layer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ROWS_AT_ONCE = 16
"""Rows in one forward pass: on a CPU larger batches are no faster, since rows are padded to the longest."""


def forward_to(
    model: TransformerBridge, tokens: Tensor, hooks: Sequence[str], lengths: Tensor | None = None
) -> dict[str, Tensor]:
    """The activations at ``hooks``, not run further than the last layer they need; on the fast path where it gives the
    same. lengths: how many positions of each row are wanted (≥ 1; None: all);
    what stands behind them means nothing."""
    path = fast_path(model, hooks, through_bridge)
    if path is None:
        return through_bridge(model, tokens, hooks)
    return path.read(tokens.to(model.cfg.device), hooks, lengths)


def through_bridge(model: TransformerBridge, tokens: Tensor, hooks: Sequence[str]) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda h, hook: seen.__setitem__(name, h.detach())

    layers = [site_layer(hook) for hook in hooks]
    last = max((layer for layer in layers if layer is not None), default=0)
    inside = all(layer is not None for layer in layers) and last + 1 < model.cfg.n_layers
    with evaluation(model), torch.no_grad(), model.hooks(fwd_hooks=[(hook, keep(hook)) for hook in hooks]):
        model(tokens.to(model.cfg.device), return_type=None, stop_at_layer=last + 1 if inside else None)
    for hook in hooks:
        if hook not in seen:
            raise ValueError(f"hook {hook!r} did not fire in a forward pass of this model: choose another one.")
    return {hook: seen[hook] for hook in hooks}


def logits_at(
    model: TransformerBridge, tokens: Tensor, h: Tensor, hook: str, change: tuple[str, Tensor] | None, where: Tensor
) -> Tensor:
    """Logits [n, d_vocab] at the n positions of `where` [row, position], of a pass in which the residual stream at
    `hook` (of the residual stream) is `h` [row, position, d], and `change` is added at a later site of its block or the
    next. On the fast path what comes before `hook` is not run."""
    layer = site_layer(hook)
    assert layer is not None
    begin = layer + hook.endswith("hook_resid_post")
    tokens, where = tokens.to(model.cfg.device), where.to(model.cfg.device)
    path = fast_path(model, [hook, *([change[0]] if change else [])], through_bridge) if begin else None
    if path is not None:
        return path.logits(tokens, begin, h, change, where)
    hooks: list[Any] = [(hook, lambda old, hook: h.to(old))]
    if change is not None:
        hooks.append((change[0], lambda old, hook: old + change[1].to(old)))
    with evaluation(model), torch.no_grad(), model.hooks(fwd_hooks=hooks):
        return model(tokens, return_type="logits")[where]


def describe_model(model: TransformerBridge) -> dict[str, Any]:
    """Name, hash and processing of a model, as they stand in every provenance; None where it was not loaded here."""
    name = getattr(model, "model_name", None) or model.cfg.model_name
    return {
        "model": name,
        "model_hash": getattr(model, "model_hash", None),
        "processing": getattr(model, "processing", "none"),
    }


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Dropout off while we read; the mode of every part of the model is put back."""
    were = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was in were.items():
            module.training = was
