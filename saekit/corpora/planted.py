"""Planted features: arrays whose true directions are known, to see what a dictionary finds.

x = Σ_i a_i f_i, with more features than dimensions: superposition. Feature i is on with probability p_i, independently
of the others, p_i falling from `highest` to `lowest` as a power of its rank (Zipf), and its strength a_i is uniform on
(0, 1]. Source: Elhage et al. 2022, "Toy models of superposition", arXiv:2209.10652; Sharkey et al. 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.files.arguments import number, whole

AT_ONCE = 2**16
APART = 32_452_843
"""Between the seeds of worlds and those of others: with equal seeds a dictionary would begin at the truth."""


@dataclass(frozen=True, eq=False)
class Planted:
    """directions: [features, d], unit rows; probabilities: [features], falling."""

    directions: Float[Tensor, "features d"]
    probabilities: Float[Tensor, " features"]

    def activations(self, n: int, seed: int = 0) -> Float[Tensor, "n features"]:
        """How strong each feature is in each of n samples: mostly zero."""
        generator = torch.Generator().manual_seed(seed)
        shape = (n, len(self.probabilities))
        on = torch.rand(shape, generator=generator) < self.probabilities
        return on * (1 - torch.rand(shape, generator=generator))  # (0, 1]

    def sample(self, n: int, seed: int = 0) -> Float[Tensor, "n d"]:
        """n samples; those of different seeds are independent."""
        n, seed = whole("n", n), whole("seed", seed, least=0)
        parts = [
            self.activations(min(AT_ONCE, n - start), seed * 1_000_003 + start) @ self.directions
            for start in range(0, n, AT_ONCE)
        ]
        return torch.cat(parts)


def superposition(
    features: int = 256, dimensions: int = 64, highest: float = 0.05, lowest: float = 0.002, seed: int = 0
) -> Planted:
    """Random unit directions and Zipf probabilities. Raises ValueError for sizes or probabilities that cannot be."""
    features, dimensions, seed = whole("features", features), whole("dimensions", dimensions), whole("seed", seed, 0)
    highest, lowest = number("highest", highest), number("lowest", lowest)
    if not 0 < lowest <= highest <= 1:
        raise ValueError(f"probabilities must be 0 < lowest ≤ highest ≤ 1, found {lowest} and {highest}.")
    generator = torch.Generator().manual_seed(seed + APART)
    directions = torch.randn(features, dimensions, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    rank = torch.arange(1, features + 1, dtype=torch.float64)
    slope = torch.log(torch.tensor(highest / lowest)) / torch.log(rank[-1]) if features > 1 else torch.tensor(0.0)
    return Planted(directions, (highest * rank**-slope).float())
