"""TopK: keep the k largest pre-activations (Gao et al. 2024, arXiv 2406.04093)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saekit_kernels import SparseCodes, encode_top_k

from saekit.dictionaries.dictionary import Activation
from saekit.dictionaries.linear import LinearDictionary, fused
from saekit.dictionaries.method import Held, Method, check_k
from saekit.dictionaries.wiring import Wiring
from saekit.objectives import AUXK_WEIGHT, Batch, Loss, State, reconstruction_auxk


@dataclass(frozen=True)
class TopK(Method):
    """k active latents a token; trained on the squared error, with dead latents learning the residual (AuxK).

    k:           latents kept for each token
    auxk_weight: how much the auxiliary error of dead latents weighs
    d_sae, skip: as of every Method.
    """

    k: int = 32
    auxk_weight: float = AUXK_WEIGHT

    equation: ClassVar[str] = "z = ReLU(top-k of u), u = W_enc (x − b_dec) + b_enc; x̂ = Σ z_i d_i + b_dec"
    source: ClassVar[str] = "Gao et al. 2024, arXiv 2406.04093"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self, self.k)
        if self.k != int(self.k):
            raise ValueError(f"k must be a whole number, found {self.k}.")

    @property
    def held(self) -> Held:
        """A chunk, and what the dead hold."""
        return Held(2, chunked=True)

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> TopKDictionary:
        """With random decoder rows of norm 1."""
        return TopKDictionary(self, wiring, widths)


class TopKDictionary(LinearDictionary):
    """The dictionary of the TopK method."""

    adjustable = ("k",)

    @fused
    def encode(self, x: Activation) -> SparseCodes:
        """z = ReLU(top-k of u); every token has k entries, zeros among them where fewer u are positive."""
        return encode_top_k(self.join_reads(x), self.encoder.directions, self.encoder.bias, self.method.k, self.centre)

    @fused
    def loss(self, batch: Batch, state: State) -> Loss:
        """The squared error with AuxK."""
        return reconstruction_auxk(self, batch, state, self.method.auxk_weight)
