"""TopK: keep the k largest pre-activations (Gao et al. 2024, arXiv 2406.04093).

u = W_enc (x − b_dec) + b_enc,   z = ReLU(top-k of u),   x̂ = Σ_i z_i d_i + b_dec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saekit_kernels import SparseCodes, encode_top_k

from saekit.dictionaries.contract import Activation, DictionaryConfiguration
from saekit.dictionaries.linear import LinearEncoderDictionary, check_size


@dataclass(frozen=True)
class TopK(DictionaryConfiguration):
    """k active latents a token; trained on the squared error, with dead latents learning the residual (AuxK)."""

    k: int = 32
    """latents kept for each token"""

    objective: ClassVar[str] = "reconstruction + auxk"

    def __post_init__(self) -> None:
        check_size(self.d_sae, self.k)
        if self.k != int(self.k):
            raise ValueError(f"k must be a whole number, found {self.k}.")

    def build(self, reads: Mapping[str, int], writes: Mapping[str, int]) -> TopKDictionary:
        return TopKDictionary(self, reads, writes)


class TopKDictionary(LinearEncoderDictionary):
    """The dictionary of the TopK method."""

    configuration: TopK

    def encode(self, x: Activation) -> SparseCodes:
        x, k = self.join_reads(x), self.configuration.k
        return encode_top_k(x, self.encoder_directions, self.encoder_bias, k, self.centre)
