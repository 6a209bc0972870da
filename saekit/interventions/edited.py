"""edited: a context in which a model runs with edits, its generation included."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.dictionaries import Dictionary, check_model
from saekit.interventions.edit import Edit
from saekit.models import check_edit_site, site_width

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


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
        with model.hooks(fwd_hooks=[(edit.where, _hook(edit, place)) for edit in edits]):
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
        assert not isinstance(edit.tokens, str)
        wanted = [edit.tokens] if isinstance(edit.tokens, int) else list(edit.tokens)
        return torch.isin(at, torch.tensor([p if p >= 0 else self.prompt + p for p in wanted]))


def _hook(edit: Edit, place: _Place):
    def change(h: Tensor, hook: Any) -> Tensor:
        mask = place.selects(edit, h.shape[1])
        if mask is None:
            return h + edit.change(h)
        if not bool(mask.any()):
            return h
        result = h.clone()
        mask = mask.to(h.device)
        result[:, mask] = h[:, mask] + edit.change(h[:, mask])
        return result

    return change


def _check(model: TransformerBridge, edit: Edit) -> None:
    check_edit_site(model, edit.where)
    width = site_width(model, edit.where)
    if not isinstance(edit.source, Dictionary):
        if edit.source.shape != (width,):
            raise ValueError(f"the vector has shape {tuple(edit.source.shape)}, site {edit.where!r} width {width}.")
        return
    check_model(edit.source, model)
    if edit.source.d_in != width or edit.source.d_out != width:
        raise ValueError(f"the dictionary is {edit.source.d_in} wide, site {edit.where!r} of this model {width}.")
    if edit.source.provenance.model_hash is None:
        warnings.warn(
            f"this dictionary does not say which model it was made on; it fits {edit.where!r} by its width alone.",
            stacklevel=3,
        )
