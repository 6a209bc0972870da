"""Matching pursuit: one atom after the other, each the best for what is left (Mallat and Zhang 1993; Costa et al. 2025,
arXiv 2506.03093).

r₀ = x − b;  j = argmax_i ⟨d_i, r⟩ (signed: of |⟨d_i, r⟩|);  z_j += ⟨d_j, r⟩;  r −= ⟨d_j, r⟩ d_j;  rows of norm 1.
So ‖r‖ never grows, and after each step r ⟂ d_j. A token stops where no product is positive, or ‖r‖ < tolerance · ‖r₀‖,
and in any case where what is left is rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from saekit_kernels import SparseCodes
from saekit_kernels.sparse_codes import offsets_of
from torch import Tensor

from saekit.dictionaries.parts.part import Part

PRODUCTS_AT_ONCE = 2**23
"""Of residuals with all atoms."""
ROUNDING = 16
"""Times the precision of numbers: what a reconstruction that is exact leaves of ‖x‖."""


class PursuitEncoder(Part):
    """Has no parameters: it reads with the rows of the decoder."""

    def forward(
        self, x: Float[Tensor, "n d"], directions: Float[Tensor, "d_sae d"], steps: int, tolerance: float, signed: bool
    ) -> SparseCodes:
        """Codes of x from which the bias is taken away; differentiable in both, the choice of atoms apart."""
        at_once = max(1, PRODUCTS_AT_ONCE // len(directions))
        atoms = torch.cat([choose(part, directions, steps, tolerance, signed) for part in x.split(at_once)] or [])
        values, r = [], x
        for chosen in atoms.unbind(1):
            rows = directions[chosen.clamp_min(0)]
            value = torch.where(chosen >= 0, (rows * r).sum(1), 0)
            values.append(value)
            r = r - value[:, None] * rows
        return summed(atoms, torch.stack(values, 1), len(directions))

    def rescale(self, reads: Sequence[float], writes: Sequence[float], codes: float) -> None:
        """Codes grow with the input by themselves."""


@torch.no_grad()
def choose(
    x: Float[Tensor, "n d"], directions: Float[Tensor, "d_sae d"], steps: int, tolerance: float, signed: bool
) -> Int[Tensor, "n steps"]:
    """The atom of each step, −1 from where a token has stopped."""
    r, chosen = x.clone(), []
    least = max(tolerance, ROUNDING * torch.finfo(x.dtype).eps) * x.norm(dim=1)
    going = torch.ones(len(x), dtype=torch.bool, device=x.device)
    for _ in range(steps):
        products = r @ directions.T
        best = (products.abs() if signed else products).max(1)
        going = going & ~(best.values <= 0) & ~(r.norm(dim=1) < least)  # NaN goes on, for the loss to meet
        value = torch.where(going, products.gather(1, best.indices[:, None])[:, 0], 0)
        r -= value[:, None] * directions[best.indices]
        chosen.append(torch.where(going, best.indices, -1))
    return torch.stack(chosen, 1)


def summed(atoms: Int[Tensor, "n steps"], values: Float[Tensor, "n steps"], d_sae: int) -> SparseCodes:
    """Codes in which an atom that was chosen several times stands once."""
    n = len(atoms)
    there = atoms >= 0
    keys = (torch.arange(n, device=atoms.device)[:, None] * d_sae + atoms)[there]
    places, inverse = keys.unique(return_inverse=True)  # ascending, so row after row
    merged = values.new_zeros(len(places)).index_add(0, inverse, values[there])
    rows = places // d_sae
    return SparseCodes(merged, (places % d_sae).int(), offsets_of(rows, n), d_sae, (n,))
