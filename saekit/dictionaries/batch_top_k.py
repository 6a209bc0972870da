"""BatchTopK: keep the k · B largest pre-activations of a batch of B tokens (Bussmann et al. 2024, arXiv 2412.06410).

While it trains z = ReLU(u) on the k · B largest entries of the whole batch, else 0. Afterwards every token stands for
itself: z = u · 1[u > θ], a JumpReLU. θ is measured with the final weights: of the last 4,096 tokens of training as many
entries are above it as training would keep, k a token. The paper's θ, a running mean of each batch's smallest entry, is
of weights that are gone: it lags behind them for some hundred steps, and a short run would give back a dictionary of
another L0 than it trained. While it trains that mean, θ ← θ + 0.01 (min − θ), only says where not to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from saekit_kernels import SparseCodes, encode_batch_top_k
from torch import Tensor

from saekit.dictionaries.dictionary import Activation
from saekit.dictionaries.linear import LinearDictionary, fused
from saekit.dictionaries.method import Held, Method, check_k
from saekit.dictionaries.wiring import Wiring
from saekit.engines import processes
from saekit.objectives import AUXK_WEIGHT, Batch, Loss, State, reconstruction_auxk

RATE = 0.01
LOWER = 0.9  # entries below 0.9 θ are not looked at, as long as enough are above
EQUAL = 1e-5  # of a pre-activation: what rounding may make of equals


@dataclass(frozen=True)
class BatchTopK(Method):
    """k active latents a token on average; trained on the squared error, with AuxK.

    k:           latents kept for each token, on average; it may be a fraction
    auxk_weight: how much the auxiliary error of dead latents weighs
    d_sae, skip: as of every Method.
    """

    k: float = 32
    auxk_weight: float = AUXK_WEIGHT

    equation: ClassVar[str] = "z = u on the k·B largest entries of a batch; afterwards z = u · 1[u > θ]"
    source: ClassVar[str] = "Bussmann et al. 2024, arXiv 2412.06410"
    recent: ClassVar[int] = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self, self.k)

    @property
    def held(self) -> Held:
        """A chunk, and what is positive in it with its places."""
        return Held(7, chunked=True)

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> BatchTopKDictionary:
        """With random decoder rows of norm 1, and θ = 0 until it was trained."""
        return BatchTopKDictionary(self, wiring, widths)


class BatchTopKDictionary(LinearDictionary):
    """The dictionary of the BatchTopK method; ``train()`` and ``eval()`` choose between batch and threshold."""

    threshold: Tensor

    def __init__(self, method: BatchTopK, wiring: Wiring, widths: Mapping[str, int]) -> None:
        super().__init__(method, wiring, widths)
        self.register_buffer("threshold", torch.tensor(0.0))

    @fused
    def encode(self, x: Activation) -> SparseCodes:
        """In training the k · B largest positive u of the batch of B tokens (of all processes together), else all u
        above θ; rows are ragged."""
        x = self.join_reads(x)
        if not self.training:
            return self.above(x, self.threshold.clamp_min(0))
        bound = LOWER * float(self.threshold)
        wanted = int(self.method.k * int(processes.summed(torch.tensor(x.numel() // x.shape[-1]))))
        if processes.count() == 1:
            return self._largest(x, wanted, bound)
        codes = self.above(x, torch.tensor(bound))
        if bound <= 0 or int(processes.summed(torch.tensor(len(codes.values)))) < wanted:
            codes = self._largest(x, wanted, 0.0)
        return of_all(codes, wanted)

    @fused
    def loss(self, batch: Batch, state: State) -> Loss:
        """The squared error with AuxK."""
        return reconstruction_auxk(self, batch, state, self.method.auxk_weight)

    @torch.no_grad()
    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        """Move θ towards the smallest entry that was kept, in all processes alike; onto it at first."""
        none, values = torch.tensor(torch.inf).to(self.threshold), loss.codes.values.detach()
        smallest = processes.smallest(values.min().to(self.threshold) if len(values) else none)
        if smallest == torch.inf:
            return
        first = self.threshold == 0
        self.threshold.copy_(torch.where(first, smallest, self.threshold + RATE * (smallest - self.threshold)))

    @torch.no_grad()
    def finalise(self, recent: Batch, state: State) -> None:
        """Put θ between the smallest of the k · n largest positive u of n tokens and the next one; 0 where no more than
        these are positive. Of equals, which tokens give that begin alike, none is kept: a θ on them would leave to
        rounding what becomes of them."""
        x = self.join_reads(recent.reads)
        wanted = int(self.method.k * len(x))
        values = self._largest(x, wanted + 1, 0.0).values
        if len(values) <= wanted:
            self.threshold.fill_(0.0)
            return
        next_one = values.min()
        above = values[values > next_one * (1 + EQUAL)]
        self.threshold.copy_((next_one + above.min()) / 2 if len(above) else next_one * (1 - EQUAL))

    def _largest(self, x: Tensor, wanted: int, bound: float) -> SparseCodes:
        return encode_batch_top_k(x, self.encoder.directions, self.encoder.bias, wanted, bound, self.centre)

    @torch.no_grad()
    def rescale(self, scales: Mapping[str, float]) -> None:
        """As of a linear dictionary; θ grows with the codes."""
        super().rescale(scales)
        self.threshold.mul_(self.codes_scale(scales))


def of_all(codes: SparseCodes, wanted: int) -> SparseCodes:
    """Those of the ``wanted`` largest entries of all processes that train together which are this one's."""
    values = codes.values.detach()
    mine = torch.full((wanted,), -torch.inf).to(values)
    strongest = values.topk(min(len(values), wanted), sorted=False).values
    mine[: len(strongest)] = strongest
    least = processes.gathered(mine).topk(wanted, sorted=False).values.min()
    return codes.keep(~(values < least))  # NaN stays, for the loss to meet
