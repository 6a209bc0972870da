"""What is found out about the sites of a model: which fire, how wide they are, and where edits are right.

Reading is offered at every hook that fires; editing only where a change made at the hook is a change of the model's own
computation by the same amount. ``hook_resid_mid`` is not such a place: in TransformerLens 4 it is an alias of the
second norm's input, so an edit there reaches the MLP and not the residual stream.

Measured once a model as it is (``saekit.models.found``) and without the hooks on its hook points, since an edit that
stands on it would be measured with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.files.choices import offered
from saekit.models.bridge import hooked, through_bridge
from saekit.models.edit_sites import heads_reach, sums_hold
from saekit.models.found import found
from saekit.models.several import SeveralModels, model_at
from saekit.models.site import EDITABLE, Site, as_names
from saekit.models.state import alone, evaluation

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


_MODULE = re.compile(r"^(?:[a-z_]+\.)*(?:layers?|h|blocks)\.(\d+)(?:\.([a-z_]+))?$")
_PARTS = (("att", "hook_attn_out"), ("mlp", "hook_mlp_out"), ("feed_forward", "hook_mlp_out"))


def site_layer(site: str) -> int | None:
    """``Site(site).layer``."""
    return Site(site).layer


def check_site(model: TransformerBridge | SeveralModels, site: str) -> Site:
    """The site, when the model (of several the one it names) has a hook of that name that fires, else ValueError naming
    the closest."""
    as_names([site])
    own, hook = model_at(model, site)
    hooks = own.hook_dict
    if hook not in hooks:
        raise ValueError(f"the model has no hook {str(hook)!r}; {offered(_of_hugging_face(hook) or hook, hooks)}.")
    gate = own._gated_hook_reason(hooks[hook].name or hook)
    if gate is not None:
        raise ValueError(f"hook {str(hook)!r} does not fire until model.set_{gate}(True) is called.")
    return Site(site)


def _of_hugging_face(name: str) -> str | None:
    """The hook at what a module of Hugging Face's gives: 'model.layers.2' → 'blocks.2.hook_resid_post'."""
    found = _MODULE.search(name)
    if found is None:
        return None
    part = found[2] or ""
    return f"blocks.{found[1]}.{next((kind for word, kind in _PARTS if word in part), 'hook_resid_post')}"


def site_width(model: TransformerBridge, site: str) -> int:
    """The size of the last dimension of the activations at a site.

    model: what ``load_model`` gives."""
    return _shape(model, site)[-1]


def joined_width(model: TransformerBridge | SeveralModels, site: str) -> int:
    """The width of what a dictionary reads at a site: ``site_width``, or heads · d_head where there are heads.

    model: what ``load_model`` gives, or several by their names."""
    own, site = model_at(model, site)
    shape = _shape(own, site)
    known = found(own, "by token")
    if site not in known:
        with alone(own):
            tokens = torch.zeros(2, 3, dtype=torch.long)
            known[site] = tuple(through_bridge(own, tokens, [site]).kept[site].shape)
    if known[site] != (2, 3, *shape[2:]) or (len(shape) != 3 and not Site(site).heads):
        raise _no_vector(site, known[site])
    return math.prod(shape[2:]) if Site(site).heads else shape[-1]


def joined(h: Float[Tensor, "row position ..."], site: str) -> Float[Tensor, "row position d"]:
    """Activations as a dictionary reads them, head beside head; those of sites without heads as they are. Raises
    ValueError where there is no vector a token, as at attn.hook_pattern.

    h: as the hook gives them. site: the hook's name."""
    x = h.flatten(2) if Site(site).heads and h.ndim == 4 else h
    if x.ndim != 3:
        raise _no_vector(site, h.shape)
    return x


def _no_vector(site: str, shape: Sequence[int]) -> ValueError:
    return ValueError(
        f"what passes {str(site)!r} has the shape {tuple(shape)}, and a dictionary reads a vector a token, [row, "
        f"position, d]: choose another site, such as 'blocks.{Site(site).layer or 0}.hook_resid_post'."
    )


def by_head(
    x: Float[Tensor, "*shape width"], model: TransformerBridge, site: str
) -> Float[Tensor, "*shape heads d_head"]:
    """Undo ``joined`` in the last dimension: activations, or decoder directions, head by head.

    x: what ``joined`` gave. model, site: where it was read."""
    if not Site(site).heads:
        raise ValueError(f"{str(site)!r} has no heads; attn.hook_q, attn.hook_k, attn.hook_v and attn.hook_z have.")
    return x.unflatten(-1, (-1, site_width(model, site)))


def _shape(model: TransformerBridge, site: str) -> tuple[int, ...]:
    """Of the activations of one token, seen once."""
    check_site(model, site)
    known = found(model, "shapes")
    if site not in known:
        with alone(model):
            token = torch.zeros(1, 1, dtype=torch.long)
            known[site] = tuple(through_bridge(model, token, [site]).kept[site].shape)
    return known[site]


def can_be_edited(model: TransformerBridge | SeveralModels, site: str) -> bool:
    """Whether ``check_edit_site`` finds nothing against editing at a site of this model."""
    try:
        check_edit_site(model, site)
    except ValueError:
        return False
    return True


def check_edit_site(model: TransformerBridge | SeveralModels, site: str) -> Site:
    """The site, when edits are offered there, else ValueError with the nearest site that offers them.

    model: what ``load_model`` gives, or several by their names. site: a hook's name."""
    whole = check_site(model, site)
    own, site = model_at(model, whole)
    if site.kind == "hook_resid_mid":
        raise ValueError(
            f"an edit at {str(site)!r} would reach the MLP only, not the residual stream (in TransformerLens 4 it is "
            f"the input of the second norm): edit '{site.beside('hook_attn_out')}' instead."
        )
    if not site.editable:
        block = f"blocks.{site.layer or 0}."
        offered = ", ".join(block + kind for kind in EDITABLE)
        raise ValueError(f"edits are not offered at {str(site)!r}; they are at {offered}.")
    if site.is_added and site not in sums_hold(own):
        raise ValueError(
            f"{str(site)!r} of this model is not what its block adds to the residual stream, so an edit there would "
            f"not be what it says: edit '{site.beside('hook_resid_post')}' instead."
        )
    if site.heads and site not in heads_reach(own, site.kind):
        raise ValueError(
            f"a change at {str(site)!r} of this model does not reach its attention as it is, so an edit there would "
            f"not be what it says: edit '{site.beside('hook_resid_post')}' instead."
        )
    return whole


def reached_after(model: TransformerBridge | SeveralModels, site: str, other: str) -> bool:
    """Whether a pass of the model reaches ``site`` only after ``other``, found out once; never of sites of two models.

    model: what ``load_model`` gives, or several by their names."""
    (own, hook), (of_other, before) = model_at(model, site), model_at(model, other)
    if own is not of_other or hook == before:
        return False
    known = found(own, "order")
    if (hook, before) not in known:
        for each in (hook, before):
            check_site(own, each)
        with alone(own), evaluation(own), torch.no_grad(), hooked(own, [before, hook]) as kept:
            own(torch.zeros(1, 1, dtype=torch.long, device=own.cfg.device), return_type=None)
            known[hook, before] = list(kept) == [before, hook]
    return known[hook, before]
