"""ReLU with a sparsity penalty (Bricken et al. 2023, "Towards monosemanticity"; Cunningham et al. 2023, arXiv
2309.08600).

u = W_enc (x − b_dec) + b_enc,   z = ReLU(u),   x̂ = Σ_i z_i d_i + b_dec,   rows d_i of norm 1 while it trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries.contract import Activation, DictionaryConfiguration
from saekit.dictionaries.linear import LinearEncoderDictionary, check_size

PENALTIES = ("l1", "log", "tanh")


@dataclass(frozen=True)
class ReLU(DictionaryConfiguration):
    """As many latents a token as the penalty leaves; trained on the squared error and the penalty."""

    sparsity_weight: float = 0.05
    """λ, how much the penalty weighs; inputs are scaled to mean square 1 a dimension first, so one λ serves any site"""
    sparsity: str = "l1"
    """the penalty on a_i = z_i ‖d_i‖: "l1" Σ a_i, "log" Σ ln(1 + a_i), "tanh" Σ tanh(a_i)"""

    objective: ClassVar[str] = "reconstruction + sparsity"

    def __post_init__(self) -> None:
        check_size(self.d_sae)
        if self.sparsity not in PENALTIES:
            raise ValueError(f"sparsity is one of {', '.join(map(repr, PENALTIES))}, found {self.sparsity!r}.")
        if not self.sparsity_weight >= 0:
            raise ValueError(f"sparsity_weight must be at least 0, found {self.sparsity_weight}.")

    def build(self, reads: Mapping[str, int], writes: Mapping[str, int]) -> ReLUDictionary:
        return ReLUDictionary(self, reads, writes)


class ReLUDictionary(LinearEncoderDictionary):
    """The dictionary of the ReLU method."""

    configuration: ReLU

    def encode_dense(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        return torch.relu(self.pre_activations(x))

    def encode(self, x: Activation) -> SparseCodes:
        return SparseCodes.from_dense(self.encode_dense(x))
