"""L0, density and dead latents. All count z ≠ 0, signed codes too; stored zeros do not count."""

from __future__ import annotations

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor


def l0(codes: SparseCodes) -> float:
    """Mean number of non-zero latents a token."""
    return float(codes.l0.sum().cpu().double() / (len(codes.offsets) - 1))


def density(codes: SparseCodes) -> Float[Tensor, " d_sae"]:
    """Share of tokens on which each latent fires."""
    fired = torch.bincount(codes.indices[codes.values != 0].long(), minlength=codes.d_sae)
    return fired.cpu().double() / (len(codes.offsets) - 1)


def dead(codes: SparseCodes) -> float:
    """Share of latents that fire on none of these tokens."""
    return float((density(codes) == 0).double().mean())
