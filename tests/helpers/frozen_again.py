"""The frozen forward of attribution graphs a second time, by plain hooks, and random transcoders of three kinds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

import saekit as sk
from saekit.dictionaries.cross_layer import built
from saekit.models import describe_model

KINDS = ("transcoders", "skip", "cross-layer")


def transcoders(model: Any, kind: str, method: sk.Method | None = None) -> list[sk.Dictionary]:
    """For all layers of a model, with random weights, biases too, in its precision; seed 0."""
    method = method or sk.TopK(d_sae=40, k=6, skip=kind == "skip")
    generator, layers = torch.Generator().manual_seed(0), range(model.cfg.n_layers)
    whole = kind == "cross-layer"
    found = []
    for wiring in [sk.Wiring.cross_layer(layers)] if whole else [sk.Wiring.transcoder(layer) for layer in layers]:
        dictionary = built(method, wiring, dict.fromkeys(wiring.sites, model.cfg.d_model)).double()
        with torch.no_grad():
            for parameter in dictionary.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        if whole:
            for layer in dictionary.layers[1:]:
                layer.decoder_bias.zero_()  # the first has that of every site
        dictionary.provenance = sk.Provenance(**describe_model(model))
        found.append(dictionary.to(model.cfg.dtype).eval().requires_grad_(False))
    return found


class FrozenAgain:
    """Recorded patterns and scales put back; embedding and MLP outputs are given.

    ``again(embedding, outs)`` → what each MLP reads and what the unembedding reads, in each row. skips: W_skip of each
    layer, which is added to ``outs`` where tokens are counted.
    """

    def __init__(self, model: Any, tokens: Tensor, skips: Sequence[Tensor] = (), counted: Tensor | None = None) -> None:
        self.model, self.tokens, self.skips, self.counted = model, tokens, skips, counted
        layers = range(model.cfg.n_layers)
        self.reads = [f"blocks.{layer}.mlp.hook_in" for layer in layers]
        self.writes = [f"blocks.{layer}.hook_mlp_out" for layer in layers]
        names = [name for name in model.hook_dict if name.endswith((".hook_scale", ".hook_pattern"))]
        seen = self._seen([*names, *self.writes, "hook_embed", "unembed.hook_out"], {}, 1)
        self.held = {name: seen[name] for name in names if name in seen}
        self.embedding, self.raw = seen["hook_embed"], seen["unembed.hook_out"]
        self.outs = [seen[name] for name in self.writes]

    def __call__(self, embedding: Tensor, outs: Sequence[Tensor]) -> list[Tensor]:
        put: dict[str, Any] = {**self.held, "hook_embed": embedding}
        for layer, name in enumerate(self.writes):
            put[name] = self._with_skip(layer, outs[layer]) if self.skips else outs[layer]
        names = [*self.reads, "unembed.hook_in"]
        seen = self._seen(names, put, len(embedding))
        return [seen[name] for name in names]

    def _with_skip(self, layer: int, out: Tensor) -> Callable[[Mapping[str, Tensor]], Tensor]:
        return lambda seen: out + (seen[self.reads[layer]] @ self.skips[layer].T) * self.counted[:, None]  # type: ignore

    def _seen(self, keep: Sequence[str], put: Mapping[str, Any], rows: int) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def act(h: Tensor, name: str) -> Tensor | None:
            seen[name] = h.detach().clone()
            new = put[name](seen) if callable(put.get(name)) else put.get(name)
            return None if new is None else new.expand(rows, *new.shape[1:])

        hooks = [(name, lambda h, hook, name=name: act(h, name)) for name in dict.fromkeys([*keep, *put])]
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            self.model.run_with_hooks(self.tokens.expand(rows, -1), fwd_hooks=hooks)
        return seen
