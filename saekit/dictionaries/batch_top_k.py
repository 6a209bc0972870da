"""BatchTopK: keep the k · B largest pre-activations of a batch of B tokens (Bussmann et al. 2024, arXiv 2412.06410).

While it trains z = ReLU(u) on the k · B largest entries of the whole batch, else 0, and the threshold θ follows the
smallest entry kept: θ ← θ + 0.01 (min − θ). Afterwards every token stands for itself: z = u · 1[u > θ], a JumpReLU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries.contract import Activation, DictionaryConfiguration
from saekit.dictionaries.linear import LinearEncoderDictionary, check_size
from saekit.engines import processes

RATE = 0.01


@dataclass(frozen=True)
class BatchTopK(DictionaryConfiguration):
    """k active latents a token on average; trained on the squared error, with AuxK."""

    k: float = 32
    """latents kept for each token, on average; it may be a fraction"""

    objective: ClassVar[str] = "reconstruction + auxk"

    def __post_init__(self) -> None:
        check_size(self.d_sae, self.k)

    def build(self, reads: Mapping[str, int], writes: Mapping[str, int]) -> BatchTopKDictionary:
        return BatchTopKDictionary(self, reads, writes)


class BatchTopKDictionary(LinearEncoderDictionary):
    """The dictionary of the BatchTopK method; ``train()`` and ``eval()`` choose between batch and threshold."""

    configuration: BatchTopK
    threshold: Tensor

    def __init__(
        self, configuration: BatchTopK, reads: Mapping[str, int], writes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(configuration, reads, writes)
        self.register_buffer("threshold", torch.tensor(0.0))

    def encode(self, x: Activation) -> SparseCodes:
        u = self.pre_activations(x)
        if not self.training:
            return SparseCodes.from_dense(torch.where(u > self.threshold.clamp_min(0), u, 0))
        codes = batch_top_k(u, self.configuration.k)
        if torch.is_grad_enabled():
            none = torch.tensor(torch.inf).to(self.threshold)
            smallest = processes.smallest(codes.values.detach().min().to(self.threshold) if len(codes.values) else none)
            if smallest == torch.inf:
                return codes
            first = self.threshold == 0
            self.threshold.copy_(torch.where(first, smallest, self.threshold + RATE * (smallest - self.threshold)))
        return codes

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        super().rescale(scale)
        self.threshold.mul_(scale)


def batch_top_k(u: Tensor, k: float) -> SparseCodes:
    """The ⌊k · B⌋ largest positive entries of u [..., d_sae], B tokens; fewer where fewer are positive. Of processes
    that train together the batch is that of all.

    [[1, −2, 3, −4], [−5, 6, −7, 8]]: k = 2 keeps 1, 3, 6, 8; k = 1.5 keeps 3, 6, 8."""
    shape, d_sae = tuple(u.shape[:-1]), u.shape[-1]
    flat, tokens = u.reshape(-1), math.prod(shape)
    with torch.no_grad():
        wanted = int(k * int(processes.summed(torch.tensor(tokens))))
        largest, kept = flat.topk(min(len(flat), wanted), sorted=False)
        if processes.count() > 1:
            padded = torch.full((wanted,), -torch.inf).to(flat)
            padded[: len(largest)] = largest
            least = processes.gathered(padded).topk(wanted, sorted=False).values.min()
            kept = kept[largest >= least]
        kept = kept[flat[kept] > 0].sort().values
        rows, latents = kept // d_sae, kept % d_sae
        offsets = torch.cat([kept.new_zeros(1), torch.bincount(rows, minlength=tokens).cumsum(0)])
    return SparseCodes(flat[kept], latents.int(), offsets, d_sae, shape)
