"""A tied encoder: the decoder's rows read too, u = W_dec (x − c) + b_enc (Cunningham et al. 2023, arXiv 2309.08600)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saekit.dictionaries.parts.linear import LinearDecoder
from saekit.dictionaries.parts.part import Part


class TiedEncoder(Part):
    """Owns the bias alone; its directions are those of the decoder it is tied to."""

    def __init__(self, decoder: LinearDecoder) -> None:
        super().__init__()
        self.tied_to = (decoder,)  # in a tuple, so that the decoder is not registered here as well
        self.bias = nn.Parameter(torch.zeros(len(decoder.directions)))

    @property
    def directions(self) -> Tensor:
        """The decoder's own, [d_sae, d]."""
        return self.tied_to[0].directions

    def forward(
        self, x: Float[Tensor, "*shape d"], centre: Float[Tensor, " d"] | None, latents: Tensor | None = None
    ) -> Float[Tensor, "*shape m"]:
        """u of all latents, or of a few."""
        some: Any = slice(None) if latents is None else latents
        return nn.functional.linear(x if centre is None else x - centre, self.directions[some], self.bias[some])

    @torch.no_grad()
    def rescale(self, reads: Sequence[float], writes: Sequence[float], codes: float) -> None:
        """The bias alone. Raises ValueError where sites have different scales, of which the rows could fold only
        one."""
        if list(reads) != list(writes) or len(set(reads)) > 1:
            raise ValueError(f"a tied encoder reads with the rows it writes: one scale for all, found {[*reads]}.")
        self.bias.mul_(codes)
