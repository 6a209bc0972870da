"""What a row gradient means: the plain steps that one kernel over rows may take the place of."""

from __future__ import annotations

import torch
from saekit_kernels import row_gradients
from torch import nn

from saekit.objectives.batch import RowGradient


@torch.no_grad()
def add_row_gradient(
    given: RowGradient,
    encoder_directions: nn.Parameter,
    encoder_bias: nn.Parameter,
    decoder_directions: nn.Parameter,
    decoder_bias: nn.Parameter,
    share: float = 1.0,
) -> None:
    """Add the gradient in each of these to its ``.grad``; share: the factor of this process's part of the batch."""
    g, dead = given.g, given.dead
    if share != 1.0:
        g, dead = g * share, dead and type(dead)(dead[0], *[row * share for row in dead[1:]])
    parameters = (encoder_directions, encoder_bias, decoder_directions, decoder_bias)
    frozen = not decoder_directions.requires_grad
    found = row_gradients(
        given.codes, given.read, g, encoder_directions, decoder_directions, given.centred, dead, frozen
    )
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None and parameter.requires_grad:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
