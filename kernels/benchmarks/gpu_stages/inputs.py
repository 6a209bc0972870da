"""Codes, activations and pre-activations of one shape, drawn for the operations.

Codes have k latents a row, drawn without replacement; real dictionaries have a few latents that fire nearly always,
which a popularity of 1 / rank (Zipf) resembles and a uniform one hides.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from saekit_kernels.latent_index import LatentIndex, by_latent
from torch import Tensor

ROWS = 512  # drawn at a time


class Case(NamedTuple):
    """A shape and the latents' popularity: proportional to 1 / rank, or uniform."""

    n: int
    d: int
    d_sae: int
    k: int
    zipf: bool

    @property
    def popularity(self) -> str:
        return "Zipf" if self.zipf else "uniform"


class Inputs(NamedTuple):
    """x, g: [n, D] bfloat16; u: [n, F] bfloat16; values, indices, offsets: codes; s: an entry's gradient each."""

    x: Tensor
    g: Tensor
    u: Tensor
    values: Tensor
    indices: Tensor
    offsets: Tensor
    s: Tensor
    index: LatentIndex


def draw(case: Case, seed: int, device: str) -> Inputs:
    """The same for a seed and a device."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, device=device)

    ranks = torch.arange(1, case.d_sae + 1, device=device)
    logits = -ranks.log() if case.zipf else torch.zeros(case.d_sae, device=device)
    chosen = []
    for rows in torch.arange(case.n).split(ROWS):  # Gumbel noise: k latents a row without replacement
        noise = torch.rand(len(rows), case.d_sae, generator=generator, device=device).log_().neg_().log_()
        chosen.append((logits - noise).topk(case.k, dim=1).indices.sort(dim=1).values)
    indices = torch.cat(chosen).int().view(-1)
    offsets = case.k * torch.arange(case.n + 1, device=device)
    x, g = normal(case.n, case.d).bfloat16(), normal(case.n, case.d).bfloat16()
    u = torch.cat([normal(len(rows), case.d_sae).bfloat16() for rows in torch.arange(case.n).split(ROWS)])
    index = by_latent(indices, offsets, case.d_sae)
    return Inputs(x, g, u, normal(len(indices)), indices, offsets, normal(len(indices)), index)
