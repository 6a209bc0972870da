"""What the modes of an edit do to codes and to activations: pure functions.

On codes, with m_i the largest |z_i| on a corpus: add z'_i = z_i + s m_i; ablate z'_i = 0; clamp z'_i = s m_i; minimum
z'_i = max(z_i, s m_i). On activations: add h' = h + s Σ_j v_j; orthogonal h' = (I − P) h + s P h with P the orthogonal
projector onto the span of the v_j (s = 0 takes the span away, s = 1 is the identity); project, a cap on what lies along
each v in turn: h' = h + min(0, s ‖v‖ − h · v̂) v̂ with v̂ = v / ‖v‖.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

OF_LATENTS = ("add", "ablate", "clamp", "minimum")
OF_DIRECTIONS = ("add", "orthogonal", "project")
MODES = (*OF_LATENTS, "orthogonal", "project")
DEFAULT_STRENGTH = {mode: 0.0 if mode == "orthogonal" else 1.0 for mode in MODES}


def edited_codes(
    codes: SparseCodes, latents: Sequence[int], mode: str, strength: float, latent_max: Float[Tensor, " d_sae"]
) -> SparseCodes:
    """z' from z, for a mode of latents."""
    old = codes.latent(latents)
    unit = latent_max[list(latents)]
    target = (strength * unit if strength else torch.zeros_like(unit)).to(old)  # 0 of an unknown maximum too
    if mode == "add":
        new = old + target
    elif mode == "minimum":
        new = torch.maximum(old, target)
    else:
        new = torch.zeros_like(old) if mode == "ablate" else target.expand_as(old)
    return codes.set_latents(latents, new)


def moved(
    h: Float[Tensor, "*shape d"], directions: Float[Tensor, "n d"], mode: str, strength: float
) -> Float[Tensor, "*shape d"]:
    """h' − h, for a mode of directions; at least in float32, given in h's dtype."""
    wide = h if h.dtype == torch.float64 else h.float()
    v = directions.to(wide)
    if mode == "add":
        return (strength * v.sum(0)).to(h).expand_as(h)
    if mode == "orthogonal":
        basis = _basis(v)
        return ((strength - 1) * (wide @ basis.T) @ basis).to(h)
    change = torch.zeros_like(wide)
    for one in v:
        length = one.norm()
        if length == 0:  # a latent that never fired: it has no direction to cap
            continue
        along = (wide + change) @ (one / length)
        change = change + (strength * length - along).clamp_max(0)[..., None] * (one / length)
    return change.to(h)


def _basis(v: Float[Tensor, "n d"]) -> Float[Tensor, "rank d"]:
    """Orthonormal rows that span those of v."""
    _, sizes, rows = torch.linalg.svd(v.cpu().double(), full_matrices=False)  # MPS has no float64
    kept = sizes > sizes.max() * max(v.shape) * torch.finfo(v.dtype).eps if len(sizes) else sizes.bool()
    return rows[kept].to(v)
