"""Where a change made at a hook is a change of the model's own computation by the same amount, measured.

At ``hook_attn_out`` and ``hook_mlp_out``: where resid_pre + attn_out = resid_mid and resid_mid + mlp_out = resid_post;
in parallel blocks (no resid_mid) both are added at once. Upstream issues #1639 (BLOOM) and #1648 (OLMo 2, Granite) are
failures of it. At ``attn.hook_q``, ``_k`` and ``_v``: where a change does to the logits what the same change of what
the projection gives does, and at ``attn.hook_z`` of what the output projection gets.

All blocks are measured at once, on a few tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from saekit.models.bridge import Change, hooked, through_bridge
from saekit.models.found import found
from saekit.models.site import Site
from saekit.models.state import alone, evaluation

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOLERANCE = 1e-3
MLP = ("hook_mlp_out", "mlp.hook_out")  # the same place in some families; in others a norm or a scale lies between


def sums_hold(model: TransformerBridge) -> set[Site]:
    """The sites hook_attn_out, hook_mlp_out and mlp.hook_out that are what their block adds to the residual stream."""
    known = found(model, "sums")
    if "sites" not in known:
        kinds = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "mlp.hook_out", "hook_resid_post")
        blocks = [Site(f"blocks.{layer}.hook_resid_pre") for layer in range(model.cfg.n_layers)]
        present = model.hook_dict
        sites = [site for block in blocks for kind in kinds if (site := block.beside(kind)) in present]
        with alone(model), evaluation(model), torch.no_grad(), hooked(model, sites) as kept:
            model(_tokens(model), return_type=None)
        known["sites"] = {site for block in blocks for site in _added(block, kept)}
    return known["sites"]


def _added(block: Site, seen: Mapping[str, Tensor]) -> list[Site]:
    def equal(total: str, *parts: str) -> bool:
        sites = [block.beside(kind) for kind in (total, *parts)]
        if any(site not in seen for site in sites):
            return False
        # Each element by its own size: a few dimensions of trained models are huge and would hide the others.
        tolerance = max(TOLERANCE, torch.finfo(seen[sites[0]].dtype).eps)
        whole, *terms = (seen[site].cpu().double() for site in sites)  # MPS has no float64
        gap, scale = whole - sum(terms), whole.abs() + sum(term.abs() for term in terms)
        return bool((gap.abs() <= tolerance * scale).all())

    if block.beside("hook_resid_mid") in seen:
        holds = {"hook_attn_out": equal("hook_resid_mid", "hook_resid_pre", "hook_attn_out")}
        holds |= {kind: equal("hook_resid_post", "hook_resid_mid", kind) for kind in MLP}
    else:
        holds = {kind: equal("hook_resid_post", "hook_resid_pre", "hook_attn_out", kind) for kind in MLP}
        holds["hook_attn_out"] = holds["hook_mlp_out"]
    return [block.beside(kind) for kind, right in holds.items() if right]


def heads_reach(model: TransformerBridge, kind: str) -> set[Site]:
    """The sites of a kind with heads where a change reaches the model as it is."""
    known = found(model, "reach")
    if kind not in known:
        try:
            with alone(model):
                known[kind] = _measured(model, kind)
        except (AttributeError, TypeError, ValueError):
            known[kind] = set()  # attention of another make, where nothing is known
    return known[kind]


def _measured(model: TransformerBridge, kind: str) -> set[Site]:
    """A row of the batch for each block, changed in that block alone: at the hook, and at the module behind it."""
    points = model.hook_dict
    sites = [Site(f"blocks.{layer}.{kind}") for layer in range(model.cfg.n_layers)]
    sites = [site for site in sites if site in points]
    if not sites:
        return set()
    tokens = _tokens(model).repeat(len(sites), 1)
    by_hook: dict[str, Change] = {site: partial(_changed, row=row) for row, site in enumerate(sites)}
    clean = through_bridge(model, tokens, [], logits=True).logits
    at_hooks = through_bridge(model, tokens, [], by_hook, logits=True).logits
    with ExitStack() as stack:
        for row, site in enumerate(sites):
            path, _, end = (points[site].name or "").rpartition(".")
            behind: Any = model.get_submodule(path).original_component
            stack.callback(_change_module(behind, end, partial(_changed, kept={}, row=row)).remove)
        at_modules = through_bridge(model, tokens, [], logits=True).logits
    assert clean is not None and at_hooks is not None and at_modules is not None
    tolerance = max(TOLERANCE, 8 * torch.finfo(clean.dtype).eps)
    moved = (at_modules - clean).float().abs().flatten(1).amax(1)
    apart = (at_modules - at_hooks).float().abs().flatten(1).amax(1)
    seen = moved > TOLERANCE * clean.float().std()
    return {site for site, right in zip(sites, (seen & (apart <= tolerance * moved)).tolist(), strict=True) if right}


def _change_module(module: nn.Module, end: str, change: Callable[[Tensor], Tensor]) -> Any:
    if end == "hook_in":
        return module.register_forward_pre_hook(lambda m, given: (change(given[0]), *given[1:]))
    if end == "hook_out":
        return module.register_forward_hook(lambda m, given, out: change(out))
    raise ValueError(f"{end!r} is not the input or the output of a module.")


def _changed(h: Tensor, kept: Mapping[str, Tensor], row: int) -> Tensor:
    """One row moved by about its own size, another way in every position, head and dimension."""
    noise = torch.randn(h[row].numel(), generator=torch.Generator().manual_seed(row)).to(h)
    moved = h.clone()
    moved[row] += h[row].abs().mean() * noise.view(h[row].shape)
    return moved


def _tokens(model: TransformerBridge) -> Tensor:
    return torch.arange(4, device=model.cfg.device)[None] % model.cfg.d_vocab
