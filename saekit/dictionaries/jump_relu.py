"""JumpReLU: a threshold for each latent, learned (Rajamanoharan et al. 2024, arXiv 2407.14435).

z = u · 1[u > θ], θ = exp(log_threshold). The straight-through gradients of θ come from entries within half a bandwidth
of it on either side (``saekit.objectives.jump``, ``l0_step``), so in training all above θ − ε/2 are kept. The loss is
‖x − x̂‖²/d + λ · ‖z‖₀/d, or with a target + λ · (L0 / l0 − 1)²; λ grows over the first tenth of the run.

Other than in the paper: ε and θ are in units of a dimension's root mean square, which training scales to 1, and with a
target θ begins where ``START`` times as many latents are active.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from saekit_kernels import SparseCodes, encode_batch_top_k
from torch import Tensor, nn

from saekit.dictionaries.dictionary import Activation
from saekit.dictionaries.linear import LinearDictionary
from saekit.dictionaries.method import Held, Method, check_sparsity
from saekit.dictionaries.wiring import Wiring
from saekit.engines import processes
from saekit.objectives import Batch, Loss, State, jump, l0_step, l0_target, squared_errors, warm_up

START = 1.5


@dataclass(frozen=True)
class JumpReLU(Method):
    """As many latents a token as the penalty, or the target, leaves.

    l0:              mean number of active latents a token that training goes for; None: whatever ``sparsity_weight``
                     leaves
    sparsity_weight: λ of the target; without one that of ‖z‖₀/d, of which 0.5 leaves about 30 of 512 latents on micro
    bandwidth:       ε, the width of the rectangle, in units of a dimension's root mean square
    threshold:       θ at the start, where there is no target
    d_sae, skip: as of every Method.
    """

    l0: float | None = 32
    sparsity_weight: float = 3.0
    bandwidth: float = 0.6
    threshold: float = 0.1

    equation: ClassVar[str] = "z = u · 1[u > θ], u = W_enc (x − b_dec) + b_enc; ‖x − x̂‖² + λ (‖z‖₀ / l0 − 1)²"
    source: ClassVar[str] = "Rajamanoharan et al. 2024, arXiv 2407.14435"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sparsity(self, self.sparsity_weight, self.l0)
        for name, value in {"bandwidth": self.bandwidth, "threshold": self.threshold}.items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, found {value}.")

    @property
    def held(self) -> Held:
        """With a target some ten entries a token, for each that is active, are near a threshold, with 100 bytes each;
        without one nearly all may be."""
        return Held(13) if self.l0 is None else Held(2.5, chunked=True, a_token=1000 * self.l0)

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> JumpReLUDictionary:
        """With random decoder rows of norm 1 and one θ for all latents."""
        return JumpReLUDictionary(self, wiring, widths)


class JumpReLUDictionary(LinearDictionary):
    """The dictionary of the JumpReLU method."""

    def __init__(self, method: JumpReLU, wiring: Wiring, widths: Mapping[str, int]) -> None:
        super().__init__(method, wiring, widths)
        self.log_threshold = nn.Parameter(torch.full((method.d_sae,), method.threshold).log())

    @property
    def threshold(self) -> Tensor:
        """θ, [d_sae]."""
        return self.log_threshold.exp()

    def encode(self, x: Activation) -> SparseCodes:
        """u where it is above its latent's θ; rows are ragged."""
        return self.above(x, self.threshold)

    @torch.no_grad()
    def initialise(self, sample: Batch, state: State) -> None:
        """The decoder's bias begins at the mean; with a target θ begins where 1.5 · l0 latents a token are active."""
        super().initialise(sample, state)
        if self.method.l0 is not None:
            x = self.join_reads(sample.flat().reads)
            wanted = min(len(x) * self.d_sae // 2, max(1, int(START * self.method.l0 * len(x))))
            encoder = self.encoder
            found = encode_batch_top_k(x, encoder.directions, encoder.bias, wanted, 0.0, self.centre).values
            least = found.min() if len(found) == wanted else found.new_zeros(())
            self.log_threshold.fill_(float(least.clamp_min(self.method.bandwidth / 10).log()))

    def loss(self, batch: Batch, state: State) -> Loss:
        """Mean over tokens of ‖x − x̂‖² / d + λ · L0 / d, or with a target + λ (L0 / l0 − 1)²."""
        method, batch = self.method, batch.flat()
        target, threshold = self.join_writes(batch.writes), self.threshold
        entries = self.above(batch.reads, threshold - method.bandwidth / 2)  # u; the jump comes after
        at = threshold.index_select(0, entries.indices)  # whose gradient, unlike that of [ ], is summed in one order
        codes = replace(entries, values=jump(entries.values, at, method.bandwidth))
        error = squared_errors(target, self.join_writes(self.decode(codes, batch.reads)))
        n, d = target.shape
        active = l0_step(entries.values, at, method.bandwidth).sum() / n
        l0 = active + (processes.mean(codes.l0) - active).detach()  # of the whole batch, where several processes train
        penalty = l0 / d if method.l0 is None else l0_target(l0, method.l0)
        penalty = method.sparsity_weight * warm_up(state.progress) * penalty
        parts = {"penalty": penalty.detach(), "threshold": threshold.detach().mean()}
        return Loss(error.mean() / d + penalty, error.detach(), codes, parts)

    @torch.no_grad()
    def rescale(self, scales: Mapping[str, float]) -> None:
        """As of a linear dictionary; θ grows with the codes."""
        super().rescale(scales)
        self.log_threshold.add_(torch.tensor(self.codes_scale(scales)).log().to(self.log_threshold))
