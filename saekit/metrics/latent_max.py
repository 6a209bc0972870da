"""latent_max: the largest activation of each latent, the unit in which strengths are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.activations import harvest
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@torch.no_grad()
def measure_latent_max(
    model: TransformerBridge | None,
    dictionary: Dictionary,
    corpus: Corpus | Sequence[str] | Tensor | Mapping[str, Tensor],
    tokens: int | None = None,
) -> Tensor:
    """Measure ``dictionary.latent_max`` on a corpus, and keep it there; when ``model`` is None on an array [n, d], or
    on one for each site that the dictionary reads.

    A latent that never fires has 0. The corpus and the number of tokens go into ``provenance.latent_max``.
    """
    if model is None:
        arrays: Any = corpus if isinstance(corpus, Mapping) else {dictionary.reads[0]: corpus}
        x: dict[str, Tensor] = {site: array[:tokens] for site, array in arrays.items()}
        where = {"corpus": None, "tokens": len(next(iter(x.values())))}
    else:
        assert not isinstance(corpus, Mapping)
        acts = harvest(model, corpus, dictionary.reads, tokens=tokens)
        x = {site: acts.flat(site) for site in dictionary.reads}
        where = {"corpus": acts.provenance.get("corpus"), "tokens": acts.provenance["tokens"]}
    maximum = torch.zeros_like(dictionary.latent_max)
    n = len(next(iter(x.values())))
    for start in range(0, n, 4096):
        part = {site: h[start : start + 4096].to(dictionary.decoder_directions) for site, h in x.items()}
        codes = dictionary.encode(part)
        maximum.scatter_reduce_(0, codes.indices.long(), codes.values.to(maximum), "amax")
    dictionary.latent_max.copy_(maximum)
    dictionary.provenance = replace(dictionary.provenance, latent_max=where)
    return dictionary.latent_max
