"""The squared error with AuxK as what one kernel over rows needs (the error, ∂L/∂x̂, what the dead have beside it), and
what these mean for every row."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.decode import decode_entries
from saekit_kernels.encode import product_dtype
from saekit_kernels.reconstruction.auxk import AuxK, DeadRows, dead_error
from saekit_kernels.reconstruction.entries import entry_gradients
from saekit_kernels.sparse_codes import SparseCodes


class Reconstruction(NamedTuple):
    """total: the loss; error: ‖target − x̂‖² of each token; read: x − c; g: ∂total/∂x̂; dead: AuxK's own, or None."""

    total: Float[Tensor, ""]
    error: Float[Tensor, " n"]
    read: Float[Tensor, "n d_in"]
    g: Float[Tensor, "n d_out"]
    dead: DeadRows | None


class RowGradients(NamedTuple):
    """encoder: [d_sae, d_in]; encoder_bias: [d_sae]; decoder: [d_sae, d_out], None if it is frozen; decoder_bias."""

    encoder: Float[Tensor, "d_sae d_in"]
    encoder_bias: Float[Tensor, " d_sae"]
    decoder: Float[Tensor, "d_sae d_out"] | None
    decoder_bias: Float[Tensor, " d_out"]


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
) -> Reconstruction:
    """The loss of ``reconstruction_loss``, and its gradient before it is summed up by latent."""
    x_hat = decode_entries(codes.values, codes.indices, codes.offsets, decoder_directions)
    residual = (target - decoder_bias).sub_(x_hat)
    error = residual.square().sum(1)
    total = error.mean() / target.shape[1]
    read = x - decoder_bias if centred else x
    scale, dead = residual.new_tensor(-2 / residual.numel()), None
    if auxk is not None and len(auxk.latents) and auxk.start < len(x):
        given = (read, residual, encoder_directions, encoder_bias, decoder_directions, auxk)
        missed, dead = dead_error(*given, scale, product_dtype(x))
        total = total + missed
    return Reconstruction(total, error, read, residual.mul_(scale), dead)


@torch.no_grad()
def row_gradients(
    codes: SparseCodes,
    read: Float[Tensor, "n d_in"],
    g: Float[Tensor, "n d_out"],
    encoder_directions: Float[Tensor, "d_sae d_in"],
    decoder_directions: Float[Tensor, "d_sae d_out"],
    centred: bool,
    dead: DeadRows | None = None,
    frozen_decoder: bool = False,
) -> RowGradients:
    """With s_tf = ⟨g_t, d_f⟩ on the support of z: Σ_t s_tf read_t, Σ_t s_tf, Σ_t z_tf g_t and Σ_t g_t, from which
    Σ_f (Σ_t s_tf) e_f is taken away where the decoder's bias is what was subtracted before encoding."""
    entries = (codes.values, codes.indices, codes.offsets)
    sums, of_encoder, of_decoder = entry_gradients(*entries, decoder_directions, g, read, frozen_decoder)
    of_decoder_bias = g.sum(0)
    if dead is not None:
        sums.index_add_(0, dead.latents, dead.encoder_bias)
        of_encoder.index_add_(0, dead.latents, dead.encoder)
        if of_decoder is not None:
            of_decoder.index_add_(0, dead.latents, dead.decoder)
    if centred:
        of_decoder_bias -= sums @ encoder_directions
    return RowGradients(of_encoder, sums, of_decoder, of_decoder_bias)
