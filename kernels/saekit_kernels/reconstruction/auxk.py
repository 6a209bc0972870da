"""AuxK (Gao et al. 2024, arXiv 2406.04093): dead latents learn the residual of the others.

The dead are few against all latents, and k of them a token are many against the k of the codes (d/2 or so), so products
with their rows alone are faster than any sparse way: 10 · n · d · n_dead operations, forward and back.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class AuxK(NamedTuple):
    """latents: the dead, [n_dead] int64; k: how many of them take part a token; weight: of the auxiliary error."""

    latents: Int[Tensor, " dead"]
    k: int
    weight: float


class DeadRows(NamedTuple):
    """What AuxK gives the rows of the dead: gradients, beside which the codes give them none."""

    latents: Int[Tensor, " dead"]
    encoder: Float[Tensor, "dead d_in"]
    encoder_bias: Float[Tensor, " dead"]
    decoder: Float[Tensor, "dead d_out"]


def dead_error(
    read: Float[Tensor, "n d_in"],
    residual: Float[Tensor, "n d_out"],
    encoder: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    decoder: Float[Tensor, "d_sae d_out"],
    auxk: AuxK,
    scale: Float[Tensor, ""],
    product: torch.dtype,
) -> tuple[Float[Tensor, " n"], DeadRows]:
    """‖e − ê‖² of each token, e the residual, and the gradients of weight · its mean / d_out; scale: −2 / (n d_out)."""
    rows = decoder.index_select(0, auxk.latents)
    dead = _dead_codes(read, encoder, bias, auxk, product)
    missed = residual - _times(dead, rows, product)
    gradient = missed * (scale * auxk.weight)
    of_dead = _times(gradient, rows.T, product).masked_fill_(dead <= 0, 0)
    of_encoder, of_decoder = _times(of_dead.T, read, product), _times(dead.T, gradient, product)
    return missed.square().sum(1), DeadRows(auxk.latents, of_encoder, of_dead.sum(0), of_decoder)


def _dead_codes(read: Tensor, encoder: Tensor, bias: Tensor, auxk: AuxK, product: torch.dtype) -> Tensor:
    """Dense codes of the dead [n, n_dead], zero but for the k largest positive ones of a row."""
    u = _times(read, encoder.index_select(0, auxk.latents).T, product)
    u = u.add_(bias.index_select(0, auxk.latents)).relu_()
    if auxk.k < len(auxk.latents):
        # The k-th largest says who stays; of equals at that value all do, and what is zero adds nothing.
        least = u.topk(auxk.k, dim=1, sorted=False).values.amin(1, keepdim=True)
        u.masked_fill_(u < least, 0)
    return u


def _times(a: Tensor, b: Tensor, product: torch.dtype) -> Tensor:
    return (a.to(product) @ b.to(product)).to(a.dtype)
