"""edited: a context in which a model runs with edits, its generation included."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch
from torch import Tensor

from saekit.dictionaries import Dictionary, check_model
from saekit.interventions.edit import Edit
from saekit.models import check_edit_site, site_width

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

_told: WeakSet[Dictionary] = WeakSet()
"""dictionaries from plain arrays that a warning was given about"""


@contextmanager
def edited(model: TransformerBridge, edits: Edit | Sequence[Edit]) -> Iterator[TransformerBridge]:
    """Run the model with edits: ``with sk.edited(model, [sk.Edit(sae, latent=3, mode="ablate")]): model(tokens)``.

    Edits at one site are made in the order given, each on what the former ones left. Without edits the model is itself,
    bit for bit. Raises ValueError for a site where edits are not offered, a dictionary of another model or width.
    """
    edits = [edits] if isinstance(edits, Edit) else list(edits)
    for edit in edits:
        _check(model, edit)
    place = _Place()
    handle = model.original_model.register_forward_pre_hook(place.look, with_kwargs=True)
    try:
        with model.hooks(fwd_hooks=_hooks(edits, place)):
            yield model
    finally:
        handle.remove()


class _Place:
    """Where a forward pass stands in its sequence: under generation with a cache, only new tokens are seen."""

    def __init__(self) -> None:
        self.past = 0
        self.prompt = 0

    def look(self, module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        cache = keywords.get("past_key_values")
        self.past = int(cache.get_seq_length()) if cache is not None else 0

    def selects(self, edit: Edit, length: int) -> Tensor | None:
        """Positions of this forward that the edit is for, as a mask; None for all."""
        if self.past == 0:
            self.prompt = length
        if edit.tokens == "all":
            return None
        at = torch.arange(self.past, self.past + length)
        if edit.tokens == "prompt":
            return at < self.prompt
        if edit.tokens == "generated":
            return at >= self.prompt
        wanted = torch.tensor([p if p >= 0 else self.prompt + p for p in edit.positions], dtype=torch.long)
        return torch.isin(at, wanted)


def _hooks(edits: Sequence[Edit], place: _Place) -> list[tuple[str, Callable[..., Any]]]:
    """The edits in their order, then what transcoders read, as the edits leave it."""
    changing: list[tuple[str, Callable[..., Any]]] = []
    reading: list[tuple[str, Callable[..., Any]]] = []
    for edit in edits:
        read: dict[str, Tensor] = {}
        changing.append((edit.where, partial(_change, edit=edit, place=place, read=read)))
        if edit.read is not None:
            reading.append((edit.read, partial(_keep, read=read)))
    return changing + reading


def _keep(h: Tensor, hook: Any, read: dict[str, Tensor]) -> None:
    read["x"] = h


def _change(h: Tensor, hook: Any, edit: Edit, place: _Place, read: dict[str, Tensor]) -> Tensor:
    x = read.pop("x", None)
    if edit.read is not None and x is None:
        raise ValueError(f"the dictionary reads {edit.read!r}, which the model reaches only after {edit.where!r}.")
    mask = place.selects(edit, h.shape[1])
    if mask is None:
        return h + edit.change(h, x)
    if not bool(mask.any()):
        return h
    result = h.clone()
    mask = mask.to(h.device)
    result[:, mask] = h[:, mask] + edit.change(h[:, mask], None if x is None else x[:, mask])
    return result


def _check(model: TransformerBridge, edit: Edit) -> None:
    check_edit_site(model, edit.where)
    width = site_width(model, edit.where)
    if not isinstance(edit.source, Dictionary):
        if edit.source.shape != (width,):
            raise ValueError(f"the vector has shape {tuple(edit.source.shape)}, site {edit.where!r} width {width}.")
        return
    check_model(edit.source, model)
    if edit.source.d_out != width:
        raise ValueError(f"the dictionary is {edit.source.d_out} wide, site {edit.where!r} of this model {width}.")
    if edit.read is not None and edit.source.d_in != (found := site_width(model, edit.read)):
        raise ValueError(f"the dictionary reads {edit.source.d_in} values, site {edit.read!r} has {found} here.")
    if edit.source.provenance.model_hash is None and edit.source not in _told:
        _told.add(edit.source)
        warnings.warn(
            f"this dictionary does not say which model it was made on; it fits {edit.where!r} by its width alone.",
            stacklevel=4,  # the line that says ``with edited(…)``
        )
