"""The squared error with AuxK for autograd."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.dispatch import chosen, using
from saekit_kernels.reconstruction.auxk import AuxK, DeadRows
from saekit_kernels.reconstruction.rows import reconstruction_rows, row_gradients
from saekit_kernels.sparse_codes import SparseCodes


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
    z = ReLU(u), its mean that of the tokens auxk.start, auxk.start + auxk.every …; no gradient through x̂ in it.
    Differentiable in the directions and the biases.
    """
    parameters = (encoder_directions, encoder_bias, decoder_directions, decoder_bias)
    total, error = _Loss.apply(*parameters, x, target, codes.detach(), centred, auxk)
    return total, error


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        decoder_bias: Tensor,
        x: Tensor,
        target: Tensor,
        codes: SparseCodes,
        centred: bool,
        auxk: AuxK | None,
    ) -> tuple[Tensor, Tensor]:
        made = reconstruction_rows(codes, x, target, encoder, encoder_bias, decoder, decoder_bias, centred, auxk)
        ctx.save_for_backward(made.read, made.g, encoder, decoder, *(made.dead or ()))
        ctx.codes, ctx.centred, ctx.kernels = codes, centred, chosen()
        ctx.mark_non_differentiable(made.error)
        return made.total, made.error

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        read, g, encoder, decoder, *dead = ctx.saved_tensors
        rows = DeadRows(dead[0], *[row * of_total for row in dead[1:]]) if dead else None
        frozen = not ctx.needs_input_grad[2]
        given = (ctx.codes, read, g * of_total, encoder, decoder, ctx.centred, rows, frozen)
        with using(ctx.kernels):  # autograd may be in a thread of its own
            return *row_gradients(*given), *[None] * 5
