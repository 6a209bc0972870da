"""TopK: keep the k largest pre-activations (Gao et al. 2024, arXiv 2406.04093).

u = W_enc (x − b_dec) + b_enc,   z = ReLU(top-k of u),   x̂ = Σ_i z_i d_i + b_dec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes, top_k
from torch import Tensor, nn

from saekit.dictionaries.contract import Activation, Dictionary, DictionaryConfiguration


@dataclass(frozen=True)
class TopK(DictionaryConfiguration):
    """k active latents a token; trained on the squared error, with dead latents learning the residual (AuxK)."""

    k: int = 32
    """latents kept for each token"""

    objective: ClassVar[str] = "reconstruction + auxk"

    def __post_init__(self) -> None:
        if self.d_sae < 1:
            raise ValueError(f"d_sae must be at least 1, found {self.d_sae}.")
        if not 1 <= self.k <= self.d_sae:
            raise ValueError(f"k must be between 1 and d_sae = {self.d_sae}, found {self.k}.")

    def build(self, reads: Mapping[str, int], writes: Mapping[str, int]) -> TopKDictionary:
        return TopKDictionary(self, reads, writes)


class TopKDictionary(Dictionary):
    """The dictionary of the TopK method."""

    configuration: TopK

    def __init__(self, configuration: TopK, reads: Mapping[str, int], writes: Mapping[str, int] | None = None) -> None:
        super().__init__(configuration, reads, writes)
        self.encoder_bias = nn.Parameter(torch.zeros(configuration.d_sae))

    def pre_activations(self, x: Activation, latents: Tensor | None = None) -> Float[Tensor, "*shape m"]:
        """u of all latents, or of a few."""
        x = self.join_reads(x)
        if self.read_widths == self.write_widths:
            x = x - self.decoder_bias
        directions: Tensor = self.encoder_directions
        bias: Tensor = self.encoder_bias
        if latents is not None:
            directions, bias = directions[latents], bias[latents]
        return nn.functional.linear(x, directions, bias)

    def encode(self, x: Activation) -> SparseCodes:
        return top_k(self.pre_activations(x), self.configuration.k)
