"""Gated: one path says which latents are on, another how strongly (Rajamanoharan et al. 2024, arXiv 2404.16014).

π = W_enc (x − b_dec) + b_gate,   z = 1[π > 0] · ReLU(e^r ⊙ W_enc (x − b_dec) + b_mag),   x̂ = Σ_i z_i d_i + b_dec.
Loss: ‖x − x̂‖² + λ ‖ReLU(π)‖₁ + ‖x − x̂'‖², x̂' decoded from ReLU(π) with the decoder held fixed, so that the gate learns
to reconstruct and the decoder is not shrunk.

With a target, λ is steered: it grows by the share by which L0 is above it, and falls where it is below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor, nn

from saekit.dictionaries.dictionary import Activation
from saekit.dictionaries.linear import LinearDictionary
from saekit.dictionaries.method import Held, Method, check_sparsity
from saekit.dictionaries.wiring import Wiring
from saekit.engines import processes
from saekit.objectives import Batch, Loss, State, squared_errors, warm_up

RATE = 0.02


@dataclass(frozen=True)
class Gated(Method):
    """As many latents a token as the penalty, or the target, leaves.

    l0:              mean number of active latents a token that training goes for, by steering λ; None: λ stays
    sparsity_weight: λ, in units of the inputs' norm, as for ReLU; where it begins where there is a target
    d_sae, skip: as of every Method.
    """

    l0: float | None = None
    sparsity_weight: float = 0.15

    equation: ClassVar[str] = "z = 1[π > 0] · ReLU(e^r ⊙ W x + b_mag), π = W x + b_gate; ‖e‖² + λ‖ReLU(π)‖₁ + ‖e_gate‖²"
    source: ClassVar[str] = "Rajamanoharan et al. 2024, arXiv 2404.16014"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sparsity(self, self.sparsity_weight, self.l0)

    @property
    def held(self) -> Held:
        """Both paths and their gradients, dense."""
        return Held(15)

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> GatedDictionary:
        """With random decoder rows of norm 1; r and b_mag begin at 0, where both paths are the same."""
        return GatedDictionary(self, wiring, widths)


class GatedDictionary(LinearDictionary):
    """The dictionary of the Gated method; the encoder's own bias is that of the gate."""

    def __init__(self, method: Gated, wiring: Wiring, widths: Mapping[str, int]) -> None:
        super().__init__(method, wiring, widths)
        self.log_magnitude = nn.Parameter(torch.zeros(method.d_sae))  # r
        self.magnitude_bias = nn.Parameter(torch.zeros(method.d_sae))

    def encode_dense(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        """z = 1[π > 0] · ReLU(e^r ⊙ W x + b_mag)."""
        return self._paths(x)[1]

    def encode(self, x: Activation) -> SparseCodes:
        """The non-zeros of ``encode_dense``; rows are ragged."""
        return SparseCodes.from_dense(self.encode_dense(x))

    def _paths(self, x: Activation) -> tuple[Tensor, Tensor]:
        """π and z."""
        gate = self.pre_activations(x)
        product = gate - self.encoder.bias
        magnitude = torch.relu(self.log_magnitude.exp() * product + self.magnitude_bias)
        return gate, torch.where(gate <= 0, 0, magnitude)  # NaN stays, for the loss to meet

    def loss(self, batch: Batch, state: State) -> Loss:
        """Mean over tokens of (‖x − x̂‖² + λ √d ‖ReLU(π)‖₁ + ‖x − x̂'‖²) / d; λ grows over the first tenth of the
        run."""
        batch = batch.flat()
        target = self.join_writes(batch.writes)
        gate, z = self._paths(batch.reads)
        on, codes = torch.relu(gate), SparseCodes.from_dense(z)
        error = squared_errors(target, self.join_writes(self.decode(codes, batch.reads)))
        by_gate = squared_errors(target, self._decoded_as_it_is(on, batch.reads))
        d = target.shape[-1]
        weight = state.memory.setdefault("weight", torch.tensor(self.method.sparsity_weight).to(target))
        penalty = weight * warm_up(state.progress) * on.sum(-1).mean() / d**0.5
        gate_error = by_gate.mean() / d
        parts = {"penalty": penalty.detach(), "gate": gate_error.detach(), "weight": weight}
        return Loss(error.mean() / d + penalty + gate_error, error.detach(), codes, parts)

    def _decoded_as_it_is(self, z: Tensor, x: Activation) -> Tensor:
        """x̂ of dense codes, of which no gradient reaches the decoder."""
        decoder = self.decoder
        x_hat = z @ decoder.directions.detach() + decoder.bias.detach()
        return x_hat if decoder.skip is None else x_hat + self.join_reads(x) @ decoder.skip.detach().T

    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        """Steer λ towards the target: λ ← λ exp(0.02 (L0 / l0 − 1)), the bracket within ±1."""
        if self.method.l0 is not None:
            l0 = processes.mean(loss.codes.l0).to(state.memory["weight"])
            state.memory["weight"] = state.memory["weight"] * torch.exp(RATE * (l0 / self.method.l0 - 1).clamp(-1, 1))

    @torch.no_grad()
    def rescale(self, scales: Mapping[str, float]) -> None:
        """As of a linear dictionary; b_mag grows with the codes, r is a ratio and stays."""
        super().rescale(scales)
        self.magnitude_bias.mul_(self.codes_scale(scales))
