"""The squared error with AuxK as what one kernel over rows needs: the error, ∂L/∂x̂, and what the dead have beside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.decode import decode_entries, value_gradients
from saekit_kernels.encode import product_dtype
from saekit_kernels.latent_gradients import latent_sums, weighted_rows
from saekit_kernels.reconstruction.auxk import AuxK, _dead_codes, _times
from saekit_kernels.sparse_codes import SparseCodes


class DeadRows(NamedTuple):
    """AuxK's gradients of the dead latents' rows."""

    latents: Int[Tensor, " dead"]
    encoder: Float[Tensor, "dead d_in"]
    encoder_bias: Float[Tensor, " dead"]
    decoder: Float[Tensor, "dead d_out"]


@torch.no_grad()
def reconstruction_rows(
    codes: SparseCodes,
    x: Float[Tensor, "n d_in"],
    target: Float[Tensor, "n d_out"],
    encoder_directions: Float[Tensor, "d_sae d_in"],
    encoder_bias: Float[Tensor, " d_sae"],
    decoder_directions: Float[Tensor, "d_sae d_out"],
    decoder_bias: Float[Tensor, " d_out"],
    centred: bool,
    auxk: AuxK | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " n"], Float[Tensor, "n d_in"], Float[Tensor, "n d_out"], DeadRows | None]:
    """(total, error, x − c, ∂total/∂x̂, what AuxK gives the dead's rows), of ``reconstruction_loss``."""
    product = product_dtype(x)
    residual = (target - decoder_bias).sub_(
        decode_entries(codes.values, codes.indices, codes.offsets, decoder_directions)
    )
    error = residual.square().sum(1)
    total = error.mean() / target.shape[1]
    read = x - decoder_bias if centred else x
    scale, extra = residual.new_tensor(-2 / residual.numel()), None
    if auxk is not None and len(auxk.latents):
        rows = decoder_directions.index_select(0, auxk.latents)
        dead = _dead_codes(read, encoder_directions, encoder_bias, auxk, product)
        missed = residual - _times(dead, rows, product)
        total = total + auxk.weight * missed.square().sum(1).mean() / target.shape[1]
        gradient = missed.mul_(scale * auxk.weight)
        of_dead = _times(gradient, rows.T, product).masked_fill_(dead <= 0, 0)
        extra = DeadRows(
            auxk.latents,
            _times(of_dead.T, read, product),
            of_dead.sum(0),
            _times(dead.T, gradient, product),
        )
    return total, error, read, residual.mul_(scale), extra


@torch.no_grad()
def row_gradients(
    codes: SparseCodes,
    read: Float[Tensor, "n d_in"],
    g: Float[Tensor, "n d_out"],
    encoder_directions: Float[Tensor, "d_sae d_in"],
    decoder_directions: Float[Tensor, "d_sae d_out"],
    centred: bool,
    extra: DeadRows | None = None,
    frozen_decoder: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Gradients of encoder rows, encoder bias, decoder rows (None where frozen) and decoder bias.

    With s_tf = ⟨g_t, d_f⟩ on the support of z: Σ_t s_tf read_t, Σ_t s_tf, Σ_t z_tf g_t and Σ_t g_t, from which
    Σ_f (Σ_t s_tf) e_f is taken away where the decoder's bias is what was subtracted before encoding."""
    values, indices, offsets = codes.values, codes.indices, codes.offsets
    s = value_gradients(indices, offsets, decoder_directions, g).masked_fill_(values == 0, 0)  # a stored zero is off
    sums = latent_sums(s, indices, offsets, len(encoder_directions))
    of_decoder = None if frozen_decoder else weighted_rows(values, indices, offsets, g, len(decoder_directions))
    of_encoder = weighted_rows(s, indices, offsets, read, len(encoder_directions))
    of_decoder_bias = g.sum(0)
    if extra is not None:
        sums.index_add_(0, extra.latents, extra.encoder_bias)
        of_encoder.index_add_(0, extra.latents, extra.encoder)
        if of_decoder is not None:
            of_decoder.index_add_(0, extra.latents, extra.decoder)
    if centred:
        of_decoder_bias -= sums @ encoder_directions
    return of_encoder, sums, of_decoder, of_decoder_bias
