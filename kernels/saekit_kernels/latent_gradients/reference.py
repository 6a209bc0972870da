"""Sums over each latent's firings in plain torch; the oracle of the Triton kernels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.latent_index.reference import LatentIndex


def weighted_rows(
    index: LatentIndex, weights: Float[Tensor, " entries"], x: Float[Tensor, "n d"]
) -> Float[Tensor, "d_sae d"]:
    """Σ_e weights[e] x[row(e)] over the entries e of each latent; a latent that never fires gets zeros.

    With weights = values and x = g, the gradient of ⟨g, x̂⟩ in the decoder's rows; weights are in the codes' order.
    float32, or float64 when both are.
    """
    dtype = torch.float64 if weights.dtype == x.dtype == torch.float64 else torch.float32
    out = torch.zeros(len(index.starts) - 1, x.shape[1], dtype=dtype, device=x.device)
    products = weights[index.entries].to(dtype)[:, None] * x[index.rows.long()].to(dtype)
    return out.index_add_(0, _latents(index), products)


def latent_sums(index: LatentIndex, weights: Float[Tensor, " entries"]) -> Float[Tensor, " d_sae"]:
    """Σ_e weights[e] over the entries e of each latent."""
    dtype = torch.float64 if weights.dtype == torch.float64 else torch.float32
    out = torch.zeros(len(index.starts) - 1, dtype=dtype, device=weights.device)
    return out.index_add_(0, _latents(index), weights[index.entries].to(dtype))


def _latents(index: LatentIndex) -> Tensor:
    """The latent of each sorted entry."""
    latents = torch.arange(len(index.starts) - 1, device=index.starts.device)
    return torch.repeat_interleave(latents, index.starts.diff(), output_size=len(index.entries))
