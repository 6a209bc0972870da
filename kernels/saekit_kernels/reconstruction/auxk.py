"""Squared error and AuxK (Gao et al. 2024, arXiv 2406.04093): dead latents learn the residual of the others.

The dead are few against all latents, and k of them a token are many against the k of the codes (d/2 or so), so products
with their rows alone are faster than any sparse way: 10 · n · d · n_dead operations, forward and back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.decode import decode_entries
from saekit_kernels.encode import product_dtype
from saekit_kernels.reconstruction.entries import entry_gradients
from saekit_kernels.sparse_codes import SparseCodes


class AuxK(NamedTuple):
    """latents: the dead, [n_dead] int64; k: how many of them take part a token; weight: of the auxiliary error."""

    latents: Int[Tensor, " dead"]
    k: int
    weight: float


def reconstruction_loss(
    codes: SparseCodes,
    x: Float[Tensor, "n d_in"],
    target: Float[Tensor, "n d_out"],
    encoder_directions: Float[Tensor, "d_sae d_in"],
    encoder_bias: Float[Tensor, " d_sae"],
    decoder_directions: Float[Tensor, "d_sae d_out"],
    decoder_bias: Float[Tensor, " d_out"],
    centred: bool,
    auxk: AuxK | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " n"]]:
    """(mean over tokens of ‖target − x̂‖² / d_out + weight · that of the AuxK error, ‖target − x̂‖² of each token).

    codes: of x under W_enc (x − c) + b_enc, chosen without gradient; c is the decoder bias if ``centred``, else 0.
    The AuxK error is ‖target − x̂ − Σ z_i d_i‖², over the auxk.k dead latents with the largest pre-activations,
    z = ReLU(u); no gradient through x̂ in it. Differentiable in the directions and the biases.
    """
    parameters = (encoder_directions, encoder_bias, decoder_directions, decoder_bias)
    entries = (codes.values.detach(), codes.indices, codes.offsets)
    total, error = _Loss.apply(x, target, *parameters, *entries, centred, auxk, product_dtype(x))
    return total, error


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        target: Tensor,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        decoder_bias: Tensor,
        values: Tensor,
        indices: Tensor,
        offsets: Tensor,
        centred: bool,
        auxk: AuxK | None,
        product: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        residual = (target - decoder_bias).sub_(decode_entries(values, indices, offsets, decoder))
        error = residual.square().sum(1)
        total = error.mean() / target.shape[1]
        read = x - decoder_bias if centred else x
        dead = missed = None
        if auxk is not None and len(auxk.latents):
            dead = _dead_codes(read, encoder, encoder_bias, auxk, product)
            missed = residual - _times(dead, decoder.index_select(0, auxk.latents), product)
            total = total + auxk.weight * missed.square().sum(1).mean() / target.shape[1]
        ctx.save_for_backward(read, residual, encoder, decoder, values, indices, offsets, dead, missed)
        ctx.centred, ctx.auxk, ctx.product = centred, auxk, product
        ctx.mark_non_differentiable(error)
        return total, error

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        read, residual, encoder, decoder, values, indices, offsets, dead, missed = ctx.saved_tensors
        scale = -2 / residual.numel() * of_total
        g = residual * scale
        frozen = not ctx.needs_input_grad[4]
        sums, of_encoder, of_decoder = entry_gradients(values, indices, offsets, decoder, g, read, frozen)
        of_decoder_bias = g.sum(0)
        if dead is not None:
            latents, product = ctx.auxk.latents, ctx.product
            gradient = missed * (scale * ctx.auxk.weight)
            of_dead = _times(gradient, decoder.index_select(0, latents).T, product).masked_fill_(dead <= 0, 0)
            sums.index_add_(0, latents, of_dead.sum(0))
            of_encoder.index_add_(0, latents, _times(of_dead.T, read, product))
            if of_decoder is not None:
                of_decoder.index_add_(0, latents, _times(dead.T, gradient, product))
        if ctx.centred:
            of_decoder_bias -= sums @ encoder
        return None, None, of_encoder, sums, of_decoder, of_decoder_bias, *[None] * 6


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
