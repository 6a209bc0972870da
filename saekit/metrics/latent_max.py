"""latent_max: the largest activation of each latent, the unit in which strengths are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

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
    corpus: Corpus | Sequence[str] | Tensor,
    tokens: int | None = None,
) -> Tensor:
    """Measure ``dictionary.latent_max`` on a corpus, or on an array [n, d] when ``model`` is None, and keep it there.

    A latent that never fires has 0. The corpus and the number of tokens go into ``provenance.latent_max``.
    """
    if model is None:
        assert isinstance(corpus, Tensor)
        x, where = {"x": corpus[:tokens]}, {"corpus": None, "tokens": len(corpus[:tokens])}
    else:
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
