"""MatchingPursuit: the encoder is a pursuit over the decoder's own rows (Costa et al. 2025, arXiv 2506.03093).

As in the paper's code the argmax is over products as they are, so that codes are positive; ``signed`` takes that of
their size. An atom may be chosen again. More steps than in training only lower the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from saekit_kernels import SparseCodes

from saekit.dictionaries.dictionary import Activation, Dictionary
from saekit.dictionaries.method import Held, Method
from saekit.dictionaries.parts import LinearDecoder
from saekit.dictionaries.parts.pursuit import PursuitEncoder
from saekit.dictionaries.wiring import Wiring


@dataclass(frozen=True)
class MatchingPursuit(Method):
    """Atoms chosen one by one, each for what the former ones left; trained on the squared error.

    steps:     atoms chosen for a token, at most
    tolerance: a token stops where ‖r‖ < tolerance · ‖x − b_dec‖
    signed:    atoms by |⟨d, r⟩|, with its sign
    d_sae, skip: as of every Method.
    """

    steps: int = 16
    tolerance: float = 0.0
    signed: bool = False

    equation: ClassVar[str] = "r = x − b; steps times: j = argmax ⟨d_j, r⟩, z_j += ⟨d_j, r⟩, r −= ⟨d_j, r⟩ d_j; ‖r‖²"
    source: ClassVar[str] = "Costa et al. 2025, arXiv 2506.03093"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.steps >= 1 and self.steps == int(self.steps)):
            raise ValueError(f"steps is a whole number from 1, found {self.steps}.")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance is a share of ‖x − b_dec‖, from 0 to below 1, found {self.tolerance}.")

    @property
    def held(self) -> Held:
        """Products with all atoms, for some tokens at a time."""
        return Held(4, chunked=True)

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> MatchingPursuitDictionary:
        """With random atoms of norm 1. Raises ValueError for a wiring of more than the one site it reads."""
        if not wiring.same or (len(wiring.reads) > 1 and not wiring.each):
            raise ValueError(f"matching pursuit writes the one site it reads, found the wiring {wiring}.")
        decoder = LinearDecoder.random(self.d_sae, [widths[wiring.reads[0]]])
        return MatchingPursuitDictionary(self, wiring, widths, PursuitEncoder(), decoder)


class MatchingPursuitDictionary(Dictionary):
    """The dictionary of the MatchingPursuit method."""

    decoder: LinearDecoder
    adjustable = ("steps", "tolerance")

    @property
    def signed(self) -> bool:
        """As the method says."""
        return self.method.signed

    def encode(self, x: Activation) -> SparseCodes:
        """At most ``steps`` atoms a token, found in x − b_dec; rows are ragged."""
        x, method = self.join_reads(x), self.method
        flat = (x - self.decoder.bias).flatten(0, -2) if x.ndim > 1 else (x - self.decoder.bias)[None]
        codes = self.encoder(flat, self.decoder.directions, method.steps, method.tolerance, method.signed)
        return codes.view(*x.shape[:-1])
