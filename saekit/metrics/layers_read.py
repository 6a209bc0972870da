"""latent_layers: the reading behind ``LatentLayers``; what is measured stands there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from saekit_kernels import SparseCodes
from torch import Tensor
from torch.nn.functional import cosine_similarity

from saekit.activations.source import Readable
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.provenance import check_named
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.roles import ACTIVATIONS, CORPUS, DICTIONARY, MODEL, RUN, check_roles, role_of
from saekit.files.stopping import stopped_with
from saekit.metrics.beside import parts_beside, read_beside
from saekit.metrics.layers import LatentLayers
from saekit.metrics.variance import ExplainedVariance

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@stopped_with("stopped; what was measured by then is not kept.")
@torch.no_grad()
def latent_layers(
    model: TransformerBridge | Any,
    dictionary: Dictionary | Any,
    corpus: Readable = None,
    tokens: int | str | None = "auto",
    *,
    prompt: str | None = None,
    exclude: Sequence[str] | str = (),
    context: int | None = None,
) -> LatentLayers:
    """At which layers the latents of a dictionary for each of several sites are active, and whether one token has them
    at one layer or at many; and what it explains at each site.

    model:      what the dictionary was made on; or activations [n, d] by site, of the same tokens, and no corpus.
    dictionary: trained with ``sk.Wiring(sites, each=True)``, the sites in the order of the layers; or its run.
    corpus:     as ``sk.evaluate`` takes it. tokens: counted ones, from its beginning; "auto": 40,000; None: all.
    prompt:     a text whose heatmap stands beside that of the corpus.
    exclude:    special tokens that are not counted, by their text. context: tokens in a row at most.
    Returns ``LatentLayers``: ``.several``, ``.concentration``, ``.frame()``, ``.by_site()``, ``.chart``, drawn. For
    example ``sk.metrics.latent_layers(model, sae, corpus, tokens=20_000, prompt="Anna gave the book")``.
    Raises ValueError for a dictionary that is not for each of several sites, or of another model.
    """
    call = "sk.metrics.latent_layers(model, dictionary, corpus)"
    check_roles(
        call, model=(model, (MODEL, ACTIVATIONS)), dictionary=(dictionary, (DICTIONARY, RUN)), corpus=(corpus, CORPUS)
    )
    dictionary = dictionary_of(dictionary)
    if not dictionary.wiring.each or len(dictionary.reads) < 2:
        raise ValueError(
            "layers are compared in a dictionary for each of several sites, sk.Wiring([site, site], each=True), found "
            f"one of {dictionary.wiring}."
        )
    if role_of(model) != MODEL:
        if corpus is not None or prompt is not None:
            raise TypeError(f"a corpus and a prompt are read by a model, found a {type(model).__name__}: {call}.")
        return _measured(dictionary, parts_beside(model, dictionary.reads), None)
    if corpus is None:
        raise TypeError(f"there is no corpus to read: {call}.")
    check_model(dictionary, model)
    check_named(dictionary)
    how: dict[str, Any] = {"exclude": exclude, "context": context, "bos": dictionary.provenance.prepend_bos}
    asked = None
    if prompt is not None:
        asked = _measured(dictionary, read_beside(model, dictionary.reads, [prompt], None, **how), None)
    return _measured(dictionary, read_beside(model, dictionary.reads, corpus, tokens, **how), asked)


def _measured(
    dictionary: Dictionary, batches: Iterable[Mapping[str, Float[Tensor, "n d"]]], prompt: LatentLayers | None
) -> LatentLayers:
    sites, shape = dictionary.reads, (dictionary.d_sae, len(dictionary.reads))
    mass, firings = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.int64)
    variances, at_tokens = torch.zeros(shape[0], dtype=torch.float64), torch.zeros(shape[0], dtype=torch.int64)
    cosines, explained, tokens = torch.zeros(shape[1] - 1, dtype=torch.float64), [ExplainedVariance() for _ in sites], 0
    for batch in batches:
        x = [dictionary.take(batch[site]) for site in sites]
        codes = [dictionary.encode_at(h, site) for h, site in zip(x, sites, strict=True)]
        for number, (z, h, site) in enumerate(zip(codes, x, sites, strict=True)):
            explained[number].add(h, dictionary.decode_at(z, site, h))
            latents, values = z.indices.cpu().long(), z.values.abs().cpu().double()
            mass[:, number].index_add_(0, latents, values)
            firings[:, number].index_add_(0, latents, (values > 0).long())
        latents, variance = _of_one_token(codes)
        variances.index_add_(0, latents, variance)
        at_tokens.index_add_(0, latents, torch.ones_like(latents))
        for number, (h, above) in enumerate(itertools.pairwise(x)):
            cosines[number] += cosine_similarity(h.cpu().double(), above.cpu().double(), dim=1).sum()
        tokens += len(x[0])
    return LatentLayers(
        sites=sites,
        tokens=tokens,
        mass=mass,
        firings=firings,
        at_tokens=at_tokens,
        within=variances / at_tokens,
        cosines=cosines / tokens,
        explained=[measure.value for measure in explained],
        l0=(firings.sum(0) / tokens).tolist(),
        prompt=prompt,
    )


def _of_one_token(codes: Sequence[SparseCodes]) -> tuple[Int[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """The latent of each pair (i, t) that fires, and Var(l | i, t). codes: of the same tokens, by layer."""
    keys, layers, values = [], [], []
    for number, z in enumerate(codes):
        fires = z.values != 0
        keys.append((z.rows * z.d_sae + z.indices.long())[fires].cpu())
        values.append(z.values[fires].abs().cpu().double())
        layers.append(torch.full_like(values[-1], number))
    found, pair = torch.cat(keys).unique(return_inverse=True)
    size, layer = torch.cat(values), torch.cat(layers)

    def summed(each: Tensor) -> Tensor:
        return torch.zeros(len(found), dtype=torch.float64).index_add(0, pair, each)

    whole = summed(size)
    mean = summed(size * layer) / whole
    return found % codes[0].d_sae, summed(size * (layer - mean[pair]).square()) / whole
