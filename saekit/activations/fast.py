"""The fast path: an untouched copy of the model, on the same weights, with fused attention and none of the bridge's
hooks.

The bridge computes attention step by step, so that each step can be looked at; where only the residual stream, or what
goes into and comes out of attention and MLP, is wanted, the plain model gives the same numbers about three times as
fast. The copy shares the bridge's parameters, so it costs no memory. A site takes this path once it gave the bridge's
activations on a few tokens, to 1e-5 of their largest; any other site, and a model with hooks on it, goes through the
bridge. Where the lengths of rows are known, rows of like length run together, so that little padding is computed.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

POSITIONS_AT_ONCE = 2**11
"""On a CPU, rows × the longest of them in one pass: attention over more falls out of its caches."""
TOLERANCE = 1e-5  # of the largest activation; in lower precision some roundings of it
LAYER, ATTENTION, MLP = ("",), ("self_attn", "attn", "attention", "self_attention"), ("mlp", "feed_forward", "ffn")
# site → the modules of a block whose input or output it may be, the first that gives the bridge's numbers
PLACES: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "hook_resid_pre": ((LAYER, "in"),),
    "hook_in": ((LAYER, "in"),),
    "hook_resid_post": ((LAYER, "out"),),
    "hook_out": ((LAYER, "out"),),
    "hook_attn_out": ((ATTENTION, "out"), (("post_attention_layernorm",), "out")),
    "mlp.hook_in": ((MLP, "in"),),
    "hook_mlp_out": ((MLP, "out"), (("post_feedforward_layernorm",), "out")),
    "mlp.hook_out": ((MLP, "out"),),
}


class _Done(Exception):
    """Raised in a hook once everything wanted was seen: later layers need not run."""


class FastPath:
    """The copy of one model, and where its sites are."""

    def __init__(self, model: TransformerBridge) -> None:
        self.pointers = _pointers(model)
        self.plain = _plain_copy(model)
        blocks = [m for m in self.plain.modules() if isinstance(m, nn.ModuleList) and len(m) == model.cfg.n_layers]
        if not blocks:
            raise ValueError("no list of blocks was found.")
        self.blocks = blocks[0]
        self.places: dict[str, tuple[nn.Module, str] | None] = {}

    def place(self, model: TransformerBridge, site: str, through_bridge: Callable[..., dict[str, Tensor]]) -> bool:
        """Whether the site can be read here; found out once, against the bridge."""
        if site not in self.places:
            self.places[site] = None
            tokens = torch.arange(24, device=model.cfg.device).view(2, 12) % model.cfg.d_vocab
            for module, end in self._candidates(site):
                self.places[site] = (module, end)
                expected, found = through_bridge(model, tokens, [site])[site], self.read(tokens, [site])[site]
                if _same(expected, found):
                    break
                self.places[site] = None
        return self.places[site] is not None

    def _candidates(self, site: str) -> list[tuple[nn.Module, str]]:
        parts = site.split(".", 2)
        if len(parts) != 3 or parts[0] != "blocks" or not parts[1].isdigit():
            return []
        block, found = self.blocks[int(parts[1])], []
        for names, end in PLACES.get(parts[2], ()):
            found += [(getattr(block, n) if n else block, end) for n in names if not n or hasattr(block, n)]
        return found

    def read(self, tokens: Tensor, sites: Sequence[str], lengths: Tensor | None = None) -> dict[str, Tensor]:
        """The activations at the sites, [row, position, d]; what stands behind the `lengths` of rows means nothing."""
        rows, width = tokens.shape
        if lengths is None:
            return self._pass(tokens, sites)
        found: dict[str, Tensor] = {}
        for some, longest in _alike(lengths.tolist(), tokens.device.type):
            seen = self._pass(tokens[some, :longest], sites)
            if len(some) == rows and longest == width:
                return seen
            for site, h in seen.items():
                if site not in found:
                    found[site] = h.new_zeros(rows, width, *h.shape[2:])
                found[site][some, :longest] = h
        return found

    @torch.no_grad()
    def _pass(self, tokens: Tensor, sites: Sequence[str]) -> dict[str, Tensor]:
        """One forward pass that ends where the last site is seen."""
        seen: dict[str, Tensor] = {}

        def keep(site: str, value: Any) -> None:
            seen[site] = (value[0] if isinstance(value, tuple) else value).detach()
            if len(seen) == len(sites):
                raise _Done

        handles = []
        for site in sites:
            module, end = self.places[site]  # type: ignore[misc]
            if end == "out":
                hook = module.register_forward_hook(lambda m, given, out, site=site: keep(site, out))
            else:
                hook = module.register_forward_pre_hook(
                    lambda m, given, more, site=site: keep(site, given[0] if given else more["hidden_states"]),
                    with_kwargs=True,
                )
            handles.append(hook)
        try:
            with contextlib.suppress(_Done):
                self.plain(tokens, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return {site: seen[site] for site in sites}

    @cached_property
    def _tuples(self) -> bool:
        """Whether blocks give a tuple, of which the residual stream is the first."""
        seen: list[bool] = []
        hook = self.blocks[0].register_forward_hook(lambda m, given, out: seen.append(isinstance(out, tuple)))
        try:
            device = next(self.plain.parameters()).device
            self.plain(torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
        finally:
            hook.remove()
        return seen[0]

    @torch.no_grad()
    def logits(self, tokens: Tensor, layer: int, h: Tensor, change: tuple[str, Tensor] | None, where: Tensor) -> Tensor:
        """Logits [n, d_vocab] at the n positions of `where` [row, position], of a pass that begins with the residual
        stream `h` [row, position, d] before block `layer` ≥ 1, and to which `change` adds something at a site."""
        skipped, tuples = self.blocks[:layer], self._tuples
        head: Any = self.plain.get_output_embeddings()  # type: ignore[operator]
        hooks = [head.register_forward_pre_hook(lambda m, given: given[0][where][None])]
        if change is not None:
            module, end = self.places[change[0]]  # type: ignore[misc]
            if end != "out":
                raise ValueError(f"{change[0]!r} is the input of a module: give its change with h.")
            hooks.append(module.register_forward_hook(lambda m, given, out: _added(out, change[1])))
        try:
            for block in skipped:  # what they would give is h
                block.forward = lambda *given, **more: (h,) if tuples else h
            return self.plain(tokens, use_cache=False).logits[0]
        finally:
            for block in skipped:
                block.__dict__.pop("forward", None)
            for hook in hooks:
                hook.remove()


def _alike(lengths: list[int], device: str) -> list[tuple[list[int], int]]:
    """Rows that run together, and the longest of each group; rows stay in order where one group holds them all."""
    order = list(range(len(lengths)))
    if device != "cpu" or len(lengths) * max(lengths) <= POSITIONS_AT_ONCE:
        return [(order, max(lengths))]
    order.sort(key=lambda row: -lengths[row])
    groups: list[tuple[list[int], int]] = []
    while order:
        longest = lengths[order[0]]
        count = max(1, POSITIONS_AT_ONCE // longest)
        groups.append((order[:count], longest))
        order = order[count:]
    return groups


def _added(out: Any, change: Tensor) -> Any:
    return (out[0] + change.to(out[0]), *out[1:]) if isinstance(out, tuple) else out + change.to(out)


_paths: WeakKeyDictionary[object, FastPath | None] = WeakKeyDictionary()


def fast_path(
    model: TransformerBridge, sites: Sequence[str], through_bridge: Callable[..., dict[str, Tensor]]
) -> FastPath | None:
    """The fast path of a model where it can read all these sites, else None."""
    if len(set(sites)) < len(sites) or getattr(model, "processing", "none") != "none" or _hooked(model):
        return None
    known = _paths.get(model)
    if model not in _paths or (known is not None and known.pointers != _pointers(model)):
        try:
            _paths[model] = FastPath(model)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError):
            _paths[model] = None  # a model of another make: it has its bridge
    path = _paths[model]
    if path is None:
        return None
    try:
        return path if all(path.place(model, site, through_bridge) for site in sites) else None
    except (AttributeError, KeyError, TypeError, RuntimeError, NotImplementedError):
        _paths[model] = None
        return None


def _plain_copy(model: TransformerBridge) -> nn.Module:
    """The Hugging Face model with fused attention, on the bridge's own parameters."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    original = model.original_model
    config = copy.deepcopy(original.config)
    # Fused attention leaves out the soft cap that Gemma 2 puts on its scores.
    attention = "eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa"
    with init_empty_weights(include_buffers=False):
        plain = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=original.dtype)
    ours: dict[str, Tensor] = {}
    for name, parameter in original.named_parameters(remove_duplicate=False):
        ours.setdefault(name.replace("._original_component", ""), parameter)
    wanted = [name for name, _ in plain.named_parameters(remove_duplicate=False)]
    plain.load_state_dict({name: ours[name] for name in wanted}, assign=True, strict=False)
    for module in plain.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(model.cfg.device))
    return plain.eval()


def _pointers(model: TransformerBridge) -> tuple[int, ...]:
    """Where the parameters lie: they change when somebody puts others in their place."""
    return tuple(parameter.data_ptr() for parameter in model.original_model.parameters())


def _hooked(model: TransformerBridge) -> bool:
    """Whether anything listens or edits: then the bridge must run."""
    return any(point._forward_hooks or point._forward_pre_hooks for point in model.hook_dict.values())


def _same(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape:
        return False
    tolerance = max(TOLERANCE, 8 * torch.finfo(expected.dtype).eps)
    return float((expected - found).abs().max()) <= tolerance * float(expected.abs().max())
