"""Sites: the hook names where activations are read, and those where they may be edited.

Names are TransformerLens's. Reading is offered at every hook that fires; editing only where a change made at the hook
is a change of the model's own computation by the same amount. ``hook_resid_mid`` is not such a place: in
TransformerLens 4 it is an alias of the second norm's input, so an edit there reaches the MLP and not the residual
stream.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

RESIDUAL = ("hook_resid_pre", "hook_resid_post")
ADDED = ("hook_attn_out", "hook_mlp_out")
"""What a block adds to the residual stream; offered where the sums below hold (some families name other tensors so)."""

_sums_hold: WeakKeyDictionary[object, dict[str, bool]] = WeakKeyDictionary()
_widths: WeakKeyDictionary[object, dict[str, int]] = WeakKeyDictionary()


def site_layer(site: str) -> int | None:
    """The block a site lies in: 2 for ``blocks.2.hook_resid_post``, None for sites outside the blocks."""
    match = re.match(r"blocks\.(\d+)\.", site)
    return int(match.group(1)) if match else None


def check_site(model: TransformerBridge, site: str) -> str:
    """Return ``site`` when the model has a hook of that name that fires, else raise ValueError naming the closest."""
    hooks = model.hook_dict
    if site not in hooks:
        near = difflib.get_close_matches(site, hooks, 1, 0.0)
        raise ValueError(f"the model has no hook {site!r}; the closest is {near[0]!r}.")
    gate = model._gated_hook_reason(hooks[site].name or site)
    if gate is not None:
        raise ValueError(f"hook {site!r} does not fire until model.set_{gate}(True) is called.")
    return site


def site_width(model: TransformerBridge, site: str) -> int:
    """The size of the last dimension of the activations at a site, seen once in a forward pass of one token."""
    check_site(model, site)
    known = _widths.setdefault(model, {})
    if site not in known:
        seen: list[int] = []
        with torch.no_grad(), model.hooks(fwd_hooks=[(site, lambda h, hook: seen.append(h.shape[-1]))]):
            model(torch.zeros(1, 1, dtype=torch.long, device=model.cfg.device), return_type=None)
        if not seen:
            raise ValueError(f"hook {site!r} did not fire in a forward pass.")
        known[site] = seen[0]
    return known[site]


def check_edit_site(model: TransformerBridge, site: str) -> str:
    """Return ``site`` when edits are offered there, else raise ValueError with the nearest site that offers them."""
    check_site(model, site)
    layer, name = site_layer(site), site.split(".")[-1]
    if layer is None or site != f"blocks.{layer}.{name}":
        name = ""
    if name == "hook_resid_mid":
        raise ValueError(
            f"an edit at {site!r} would reach the MLP only, not the residual stream (in TransformerLens 4 it is the "
            f"input of the second norm): edit 'blocks.{layer}.hook_attn_out' instead."
        )
    if layer is None or name not in RESIDUAL + ADDED:
        where = f"blocks.{layer or 0}."
        raise ValueError(
            f"edits are not offered at {site!r}; they are at {', '.join(where + n for n in RESIDUAL + ADDED)}."
        )
    if name in ADDED and not _check_sums(model, layer)[name]:
        raise ValueError(
            f"{site!r} of this model is not what its block adds to the residual stream, so an edit there would not be "
            f"what it says: edit 'blocks.{layer}.hook_resid_post' instead."
        )
    return site


def _check_sums(model: TransformerBridge, layer: int) -> dict[str, bool]:
    """Does resid_pre + attn_out = resid_mid, and resid_mid + mlp_out = resid_post, in this block of this model?

    In parallel blocks (no resid_mid) both are added at once: resid_pre + attn_out + mlp_out = resid_post.
    Measured once a block on a few tokens; upstream issues #1639 (BLOOM) and #1648 (OLMo 2, Granite) are such failures.
    """
    known = _sums_hold.setdefault(model, {})
    if f"{layer}" not in known:
        names = [f"blocks.{layer}.{n}" for n in ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out")]
        names = [n for n in [*names, f"blocks.{layer}.hook_resid_post"] if n in model.hook_dict]
        seen: dict[str, torch.Tensor] = {}

        def keep(name: str):
            return lambda h, hook: seen.__setitem__(name.split(".")[-1], h.detach())

        tokens = torch.arange(4, device=model.cfg.device)[None] % model.cfg.d_vocab
        with torch.no_grad(), model.hooks(fwd_hooks=[(n, keep(n)) for n in names]):
            model(tokens, return_type=None)

        def equal(total: str, *parts: str) -> bool:
            if any(n not in seen for n in (total, *parts)):
                return False
            # Each element by its own size: a few dimensions of trained models are huge and would hide the others.
            tolerance = max(1e-3, torch.finfo(seen[total].dtype).eps)
            terms = torch.stack([seen[part].double() for part in parts])
            scale = seen[total].double().abs() + terms.abs().sum(0)
            return bool(((seen[total].double() - terms.sum(0)).abs() <= tolerance * scale).all())

        if "hook_resid_mid" in seen:
            attention = equal("hook_resid_mid", "hook_resid_pre", "hook_attn_out")
            mlp = equal("hook_resid_post", "hook_resid_mid", "hook_mlp_out")
        else:
            attention = mlp = equal("hook_resid_post", "hook_resid_pre", "hook_attn_out", "hook_mlp_out")
        known |= {f"{layer}": True, f"{layer}.hook_attn_out": attention, f"{layer}.hook_mlp_out": mlp}
    return {name: known[f"{layer}.{name}"] for name in ADDED}
