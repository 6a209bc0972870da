"""edited: a context in which a model runs with edits, its generation included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.files.roles import EDIT, MODEL, MODELS, check_roles
from saekit.interventions.checks import check_standing
from saekit.interventions.edit import Edit
from saekit.interventions.running import Step, running
from saekit.models import Call, SeveralModels, check_edit_site, joined_width, together

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@contextmanager
def edited(model: TransformerBridge | Any, edits: Edit | Sequence[Edit]) -> Iterator[TransformerBridge | Any]:
    """Run the model with edits: ``with sk.edited(model, [sk.Edit(sae, latent=3, mode="ablate")]): model(tokens)``.

    model: what ``load_model`` gives, unchanged outside of the block. edits: one ``sk.Edit`` or several.
    Yields the model.

    For dictionaries over several models, model is all of them by their names, ``{"a": model, "b": copy}``: whichever is
    called gets the edits at its own sites. Codes are made of what arrives there, and of what the others have at the
    same tokens without any edit, in a pass of their own that comes first; generation with a cache is refused then.

    Edits at one site are made in the order given, each on what the former ones left. Without edits the model is itself,
    bit for bit. An edit through a dictionary that reads several sites before it writes the first of them (a crosscoder)
    takes its codes from a pass of the same tokens with the edits before it in the list, and refuses generation with a
    cache. Raises ValueError for a site where edits are not offered, a dictionary of another model or width.
    """
    check_roles("sk.edited(model, edits)", model=(model, (MODEL, MODELS)), edits=(edits, EDIT))
    model = together(model)
    edits = [edits] if isinstance(edits, Edit) else list(edits)
    for edit in edits:
        if not isinstance(edit, Edit):
            raise TypeError(f"edits are sk.Edit(source, latent=…, mode=…), found {edit!r:.60}.")
    for edit in edits:
        for standing in edit.standings:
            check_standing(model, standing)
        if not edit.dictionaries:
            _check_vectors(model, edit)

    def steps(name: str | None) -> list[Step]:
        positions = _Positions()
        return [Step(part, partial(positions.chosen, edit), name) for edit in edits for part in edit.parts]

    with running(model, steps):
        yield model


class _Positions:
    """Where a forward pass stands in its sequence: under generation with a cache, only new tokens are seen."""

    def __init__(self) -> None:
        self.prompt = 0

    def chosen(self, edit: Edit, call: Call, length: int) -> Tensor | None:
        """Positions of this pass that the edit is for, as a mask; None for all."""
        if call.past == 0:
            self.prompt = length
        if edit.tokens == "all":
            return None
        at = torch.arange(call.past, call.past + length)
        if edit.tokens == "prompt":
            return at < self.prompt
        if edit.tokens == "generated":
            return at >= self.prompt
        wanted = torch.tensor([p if p >= 0 else self.prompt + p for p in edit.positions], dtype=torch.long)
        return torch.isin(at, wanted)


def _check_vectors(model: TransformerBridge | SeveralModels, edit: Edit) -> None:
    site = check_edit_site(model, edit.where)
    if edit.vectors.shape[-1] != (width := joined_width(model, site)):
        shape = tuple(edit.source.shape if isinstance(edit.source, Tensor) else edit.vectors.shape)
        raise ValueError(f"the vector has shape {shape}, site {str(site)!r} width {width}.")
