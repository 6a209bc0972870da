"""Where a latent is written: the site whose logits and loss effects are those of the latent.

A dictionary that writes one site has no choice. Of one over several models that writes one site of each, a latent's is
that of the model in which its decoder row is longest (``saekit.metrics.shared_latents``): a latent that only the copy
has would do nothing in the first. One that writes several sites of a model has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.models import Site


@dataclass(frozen=True, eq=False)
class Written:
    """sites: one of each model, in the dictionary's order. home: [d_sae], which of them each latent's is; the first of
    equally long rows."""

    dictionary: Dictionary
    sites: list[Site]
    home: Int[np.ndarray, " d_sae"]

    @classmethod
    def of(cls, dictionary: Dictionary) -> Written | None:
        """None where a latent has no such site."""
        sites = [Site(site) for site in dictionary.writes]
        if has_none(sites) is not None:
            return None
        if len(sites) == 1:
            return cls(dictionary, sites, np.zeros(dictionary.d_sae, np.int64))
        norms = torch.stack([dictionary.decoder_directions_at(site).detach().float().norm(dim=1) for site in sites])
        return cls(dictionary, sites, norms.argmax(0).cpu().numpy())

    def directions(self, number: int, latents: slice | list[int]) -> Float[Tensor, "m d"]:
        """Decoder rows of latents at one of the sites, by its number."""
        return self.dictionary.decoder_directions_at(self.sites[number])[latents].detach().float().cpu()


def has_none(writes: Sequence[str]) -> str | None:
    """Why a latent of a dictionary that writes these sites has no site of its own; None where it has one."""
    models = [Site(site).model for site in writes]
    if len(set(models)) == len(models):
        return None
    return f"a latent writes several sites of a model, {', '.join(writes)}, and is at none of them alone"
