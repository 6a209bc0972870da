"""latent_max: the largest |z| of each latent, the unit in which strengths are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations import harvest
from saekit.activations.arrays import by_site
from saekit.activations.outliers import without_outliers
from saekit.activations.source import Readable
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.coded import coded
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.arguments import whole
from saekit.files.roles import ACTIVATIONS, CORPUS, DICTIONARY, MODEL, MODELS, RUN, check_roles

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@torch.no_grad()
def measure_latent_max(
    model: TransformerBridge | Mapping[str, TransformerBridge] | None,
    dictionary: Dictionary,
    corpus: Readable,
    tokens: int | None = None,
    *,
    exclude: Sequence[str] | str = (),
    context: int | None = None,
    max_norm_multiple: float | None = None,
) -> Tensor:
    """Measure ``dictionary.latent_max``, the largest |z| of each latent, on a corpus, and keep it there; when ``model``
    is None on an array [n, d], or on one for each site that the dictionary reads; of a dictionary over several models
    on all of them by their names, ``{"a": model, "b": copy}``.

    tokens: counted tokens to read, the first. exclude: special tokens that are not counted. context: tokens in a row.
    max_norm_multiple: tokens whose norm is above so many times the median are left out, as ``sk.train`` does; None:
    none is.
    Raises ValueError for another model than the dictionary's.
    Returns it, [d_sae]; a latent that never fires has 0. The corpus and the number of tokens go into
    ``provenance.latent_max``. For example ``sk.measure_latent_max(model, sae, corpus, tokens=100_000)``.
    """
    call = "sk.measure_latent_max(model, dictionary, corpus)"
    roles = (DICTIONARY, RUN)
    check_roles(
        call, model=(model, (MODEL, MODELS)), dictionary=(dictionary, roles), corpus=(corpus, (CORPUS, ACTIVATIONS))
    )
    dictionary = dictionary_of(dictionary)
    tokens = None if tokens is None else whole("tokens", tokens)
    if model is None:
        given = isinstance(corpus, Mapping)
        sites = [site for site in dictionary.reads if not given or site in corpus]
        x = {site: array[:tokens] for site, array in by_site(corpus, sites).items()}
        where = {"corpus": None, "tokens": len(next(iter(x.values())))}
    else:
        x, where = _read(model, dictionary, corpus, tokens, exclude, context)
    parts = [{site: h} for site, h in x.items()] if dictionary.wiring.each else [x]
    maxima = [largest_codes(dictionary, [without_outliers(part, list(part), max_norm_multiple)[0]]) for part in parts]
    dictionary.latent_max.copy_(torch.stack(maxima).amax(0))
    dictionary.provenance = replace(dictionary.provenance, latent_max=where)
    return dictionary.latent_max


@torch.no_grad()
def largest_codes(
    dictionary: Dictionary, batches: Iterable[Mapping[str, Float[Tensor, "n d"]]]
) -> Float[Tensor, " d_sae"]:
    """The largest |z| of each latent over activations by site that come in batches; 0 of one that never fires.

    dictionary: whose codes they are. batches: as ``coded`` takes them.
    Raises ValueError for codes that are NaN or infinite."""
    maximum = torch.zeros_like(dictionary.latent_max)
    for codes in (batch.codes for batch in coded(dictionary, batches)):
        maximum.scatter_reduce_(0, codes.indices.long(), codes.values.abs().to(maximum), "amax")
    return maximum


def _read(
    model: Any, dictionary: Dictionary, corpus: Any, tokens: int | None, exclude: Any, context: int | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Activations by the dictionary's names, of several models at the same tokens."""
    check_model(dictionary, model)
    bos = dictionary.provenance.prepend_bos
    acts = harvest(model, corpus, dictionary.reads, tokens=tokens, exclude=exclude, context=context, bos=bos)
    where = {"corpus": acts.provenance.get("corpus"), "tokens": acts.provenance["tokens"]}
    return {site: acts.flat(site) for site in dictionary.reads}, where
