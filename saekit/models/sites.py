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
from saekit.models.bridge import through_bridge
from saekit.models.edit_sites import heads_reach, sums_hold
from saekit.models.found import found
from saekit.models.site import EDITABLE, Site, as_names
from saekit.models.state import alone

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


_MODULE = re.compile(r"^(?:[a-z_]+\.)*(?:layers?|h|blocks)\.(\d+)(?:\.([a-z_]+))?$")
_PARTS = (("att", "hook_attn_out"), ("mlp", "hook_mlp_out"), ("feed_forward", "hook_mlp_out"))


def site_layer(site: str) -> int | None:
    """``Site(site).layer``."""
    return Site(site).layer


def check_site(model: TransformerBridge, site: str) -> Site:
    """The site, when the model has a hook of that name that fires, else ValueError naming the closest."""
    hooks = model.hook_dict
    as_names([site])
    if site not in hooks:
        raise ValueError(f"the model has no hook {str(site)!r}; {offered(_of_hugging_face(site) or site, hooks)}.")
    gate = model._gated_hook_reason(hooks[site].name or site)
    if gate is not None:
        raise ValueError(f"hook {str(site)!r} does not fire until model.set_{gate}(True) is called.")
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


def joined_width(model: TransformerBridge, site: str) -> int:
    """The width of what a dictionary reads at a site: ``site_width``, or heads · d_head where there are heads.

    model: what ``load_model`` gives."""
    shape = _shape(model, site)
    known = found(model, "by token")
    if site not in known:
        with alone(model):
            tokens = torch.zeros(2, 3, dtype=torch.long)
            known[site] = tuple(through_bridge(model, tokens, [site]).kept[site].shape)
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


def can_be_edited(model: TransformerBridge, site: str) -> bool:
    """Whether ``check_edit_site`` finds nothing against editing at a site of this model."""
    try:
        check_edit_site(model, site)
    except ValueError:
        return False
    return True


def check_edit_site(model: TransformerBridge, site: str) -> Site:
    """The site, when edits are offered there, else ValueError with the nearest site that offers them.

    model: what ``load_model`` gives. site: a hook's name."""
    site = check_site(model, site)
    if site.kind == "hook_resid_mid":
        raise ValueError(
            f"an edit at {str(site)!r} would reach the MLP only, not the residual stream (in TransformerLens 4 it is "
            f"the input of the second norm): edit '{site.beside('hook_attn_out')}' instead."
        )
    if not site.editable:
        block = f"blocks.{site.layer or 0}."
        offered = ", ".join(block + kind for kind in EDITABLE)
        raise ValueError(f"edits are not offered at {str(site)!r}; they are at {offered}.")
    if site.is_added and site not in sums_hold(model):
        raise ValueError(
            f"{str(site)!r} of this model is not what its block adds to the residual stream, so an edit there would "
            f"not be what it says: edit '{site.beside('hook_resid_post')}' instead."
        )
    if site.heads and site not in heads_reach(model, site.kind):
        raise ValueError(
            f"a change at {str(site)!r} of this model does not reach its attention as it is, so an edit there would "
            f"not be what it says: edit '{site.beside('hook_resid_post')}' instead."
        )
    return site
