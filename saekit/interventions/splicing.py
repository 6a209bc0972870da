"""spliced: a context in which a model runs with a dictionary's reconstruction in the place of its activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.roles import DICTIONARY, MODEL, MODELS, RUN, check_roles
from saekit.interventions.checks import check_each_once, check_standing
from saekit.interventions.running import Step, running
from saekit.interventions.standing import Standing
from saekit.models import Call, SeveralModels, Site, bos_of, together

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@contextmanager
def spliced(
    model: TransformerBridge | Any, dictionary: Dictionary | Sequence[Dictionary], error: bool = False
) -> Iterator[TransformerBridge | Any]:
    """Run the model with x̂ in the place of the activation at the sites a dictionary writes:
    ``with sk.spliced(model, sae): model(tokens)``.

    model:      what ``load_model`` gives, unchanged outside of the block; the block yields it.
    dictionary: one, or several of different sites. x̂ comes from what arrives at the sites read, which is what the
                splices before them leave; a dictionary that codes a layer at a time (cross-layer) is spliced so; one
                that must read all its sites before it writes (a crosscoder) takes its codes from a pass of the same
                tokens without its splice, and refuses generation with a cache. For one over several models, model is
                all of them by their names: whichever is called is spliced at its own sites, with codes of what arrives
                there and of what the others have at the same tokens without a splice.
    error:      put x̂ + (h − x̂) with the error detached: the values are the model's own, and gradients flow through the
                dictionary alone.

    BOS and padding keep their own activation. What they are is looked up in the tokens that each call gives: padding is
    what the attention mask leaves out, and the tokenizer's pad tokens before a row's first other token and after its
    last; BOS is what a row begins with (``saekit.models.bos``). Of what is generated with a cache, all is spliced.
    Yields the model. Raises ValueError for a dictionary of another model or width, a site where edits are not offered,
    and two dictionaries that write one site.
    """
    roles = (DICTIONARY, RUN)
    check_roles("sk.spliced(model, dictionary)", model=(model, (MODEL, MODELS)), dictionary=(dictionary, roles))
    model = together(model)
    given: list[Any] = list(dictionary) if isinstance(dictionary, list | tuple) else [dictionary]
    dictionaries = [dictionary_of(each) for each in given]
    standings = [standing for each in dictionaries for standing in _standings(each)]
    check_each_once(standings)
    for standing in standings:
        check_standing(model, standing)

    def steps(name: str | None) -> list[Step]:
        return [Step(SplicePart(standing, error), partial(_spliced_at, model), name) for standing in standings]

    with running(model, steps):
        yield model


@dataclass(frozen=True)
class SplicePart:
    """h' = x̂, or x̂ with the error added as a constant."""

    standing: Standing
    error: bool

    @property
    def writes(self) -> tuple[Site, ...]:
        """The sites where x̂ stands."""
        return self.standing.writes

    def new(self, site: Site, h: Tensor, codes: SparseCodes | None, x: Mapping[Site, Tensor]) -> Tensor:
        """x̂; with ``error`` the values of h and the gradient of x̂. Raises ValueError where nothing was coded."""
        if codes is None:
            raise ValueError("a splice puts the reconstruction of codes in the place of an activation, found none.")
        x_hat = self.standing.decode(codes, x, site).to(h)
        # Of the same value as x̂ + (h − x̂), without its rounding.
        return h.detach() + (x_hat - x_hat.detach()) if self.error else x_hat


def _standings(dictionary: Dictionary) -> list[Standing]:
    """One; of a dictionary that is for each of its sites, one a site."""
    if dictionary.wiring.each:
        return [Standing(dictionary, site) for site in dictionary.writes]
    return [Standing(dictionary)]


def _spliced_at(model: TransformerBridge | SeveralModels, call: Call, length: int) -> Bool[Tensor, "row position"]:
    """Everything but BOS and padding."""
    if call.tokens is None:
        raise ValueError("a splice leaves BOS and padding alone, which only tokens show: call the model with tokens.")
    tokens, tokenizer = call.tokens, model.tokenizer
    keep = torch.zeros_like(tokens, dtype=torch.bool)
    if call.mask is not None:
        keep |= call.mask[:, -length:] == 0
    if call.past or tokenizer is None:
        return ~keep
    if tokenizer.pad_token_id is not None:
        pad = (tokens == tokenizer.pad_token_id).long()
        keep |= (pad.cumprod(1) | pad.flip(1).cumprod(1).flip(1)).bool()
    if (bos := bos_of(model)) is not None:
        first = keep.long().cumprod(1).sum(1, keepdim=True).clamp_max(length - 1)
        keep |= (tokens == bos) & (torch.arange(length, device=tokens.device) == first)
    return ~keep
