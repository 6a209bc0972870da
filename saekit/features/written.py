"""Where a latent is written: the sites of a model whose logits and loss effects are those of the latent.

Of a dictionary over several models, a latent's is the model in which its decoder row is longest
(``saekit.metrics.shared_latents``): a latent that only the copy has would do nothing in the first. Of the sites that it
writes there all count: without it its rows are taken away at each of them, as ``Edit(mode="ablate")`` does.
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
    """sites: those of each model, in the dictionary's order. home: [d_sae], in which of the models each latent's are;
    the first of equally long rows."""

    dictionary: Dictionary
    sites: list[list[Site]]
    home: Int[np.ndarray, " d_sae"]

    @classmethod
    def of(cls, dictionary: Dictionary) -> Written:
        """Of every latent."""
        by_model: dict[str | None, list[Site]] = {}
        for site in map(Site, dictionary.writes):
            by_model.setdefault(site.model, []).append(site)
        sites = list(by_model.values())
        if len(sites) == 1:
            return cls(dictionary, sites, np.zeros(dictionary.d_sae, np.int64))
        rows = [torch.cat([dictionary.decoder_directions_at(site) for site in own], 1).detach() for own in sites]
        return cls(dictionary, sites, torch.stack([own.float().norm(dim=1) for own in rows]).argmax(0).cpu().numpy())

    def directions(self, number: int, latents: slice | list[int]) -> dict[Site, Float[Tensor, "m d"]]:
        """Decoder rows of latents at each site of one of the models, by its number."""
        return {
            site: self.dictionary.decoder_directions_at(site)[latents].detach().float().cpu()
            for site in self.sites[number]
        }


def no_path(writes: Sequence[str]) -> str | None:
    """Why the rows of a latent that writes these sites have no direct path to the logits together; None where they may
    have one. What is added to the stream at several places adds up there; the stream itself, at two places, does not:
    the later one has what was written at the earlier one."""
    models = [Site(site).model for site in writes]
    if len(set(models)) == len(models) or all(Site(site).is_added for site in writes):
        return None
    return f"a latent writes several sites of a model, {', '.join(writes)}, which do not add up"
