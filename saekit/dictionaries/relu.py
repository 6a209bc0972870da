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

from saekit.dictionaries.dictionary import Activation
from saekit.dictionaries.linear import LinearDictionary
from saekit.dictionaries.method import Held, Method, check_sparsity
from saekit.dictionaries.wiring import Wiring
from saekit.files.choices import checked
from saekit.objectives import PENALTIES, Batch, Loss, State, sparsity, warm_up


@dataclass(frozen=True)
class ReLU(Method):
    """As many latents a token as the penalty leaves; trained on the squared error and the penalty.

    sparsity_weight: λ, how much the penalty weighs; inputs are scaled to mean square 1 a dimension first, so one λ
                     serves any site
    sparsity:        the penalty on a_i = z_i ‖d_i‖: "l1" Σ a_i, "log" Σ ln(1 + a_i), "tanh" Σ tanh(a_i)
    d_sae, skip: as of every Method.
    """

    sparsity_weight: float = 0.05
    sparsity: str = "l1"

    equation: ClassVar[str] = "z = ReLU(W_enc (x − b_dec) + b_enc); ‖x − x̂‖² + λ Σ p(z_i ‖d_i‖)"
    source: ClassVar[str] = "Bricken et al. 2023; Cunningham et al. 2023, arXiv 2309.08600"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked("sparsity", self.sparsity, PENALTIES)
        check_sparsity(self, self.sparsity_weight)

    @property
    def held(self) -> Held:
        """Dense codes and their gradients."""
        return Held(5)

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> ReLUDictionary:
        """With random decoder rows of norm 1."""
        return ReLUDictionary(self, wiring, widths)


class ReLUDictionary(LinearDictionary):
    """The dictionary of the ReLU method."""

    def encode_dense(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        """z = ReLU(u), [..., d_sae]."""
        return torch.relu(self.pre_activations(x))

    def encode(self, x: Activation) -> SparseCodes:
        """The non-zeros of ``encode_dense``; rows are ragged."""
        return SparseCodes.from_dense(self.encode_dense(x))

    def loss(self, batch: Batch, state: State) -> Loss:
        """Mean over tokens of (‖target − x̂‖² + λ √d Σ_i p(a_i)) / d, a_i = z_i ‖d_i‖, d = d_out. Inputs have norm near
        √d, so λ is in units of their norm: with "l1" what contributes less than λ/2 of it is not worth a latent. λ
        grows over the first tenth of the run. Of several sites written ‖d_i‖ is Σ_s ‖d_i^s‖ (crosscoders)."""
        batch = batch.flat()
        z, decoder = self.encode_dense(batch.reads), self.decoder
        residual = self.join_writes(batch.writes) - z @ decoder.directions - decoder.bias
        if decoder.skip is not None:
            residual = residual - self.join_reads(batch.reads) @ decoder.skip.T
        error, d = residual.square().sum(-1), residual.shape[-1]
        penalty = sparsity(z * decoder.row_norms(), self.method.sparsity)
        weight = self.method.sparsity_weight * warm_up(state.progress)
        total = error.mean() / d + weight * penalty.mean() / d**0.5
        return Loss(total, error.detach(), SparseCodes.from_dense(z.detach()))
