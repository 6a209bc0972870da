"""Sums over each latent's firings, and the optimiser's step on its rows, in plain torch; the Triton kernels' oracle.

With codes z, residual gradients g = ∂L/∂x̂ and pre-activation gradients s, latent f has

    ∂L/∂d_f = Σ_t z_tf g_t,    ∂L/∂e_f = Σ_t s_tf x_t,    ∂L/∂b_f = Σ_t s_tf

for its decoder row d_f, encoder row e_f and encoder bias b_f. Adam: Kingma and Ba 2014, arXiv 1412.6980.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.latent_index.reference import LatentIndex, latents_of


class Parameters(NamedTuple):
    """A dictionary's rows, one of each a latent; float32 on a GPU."""

    decoder: Float[Tensor, "d_sae d"]  # of norm 1
    encoder: Float[Tensor, "d_sae d"]
    bias: Float[Tensor, " d_sae"]  # the encoder's


class Moments(NamedTuple):
    """Adam's running means of the gradients and of their squares, shaped like the parameters; zeros to begin with."""

    decoder_mean: Float[Tensor, "d_sae d"]
    decoder_square: Float[Tensor, "d_sae d"]
    encoder_mean: Float[Tensor, "d_sae d"]
    encoder_square: Float[Tensor, "d_sae d"]
    bias_mean: Float[Tensor, " d_sae"]
    bias_square: Float[Tensor, " d_sae"]

    @classmethod
    def zeros(cls, parameters: Parameters) -> Moments:
        """The moments before the first step."""
        return cls(*(torch.zeros_like(parameter) for parameter in parameters for _ in range(2)))


class AdamStep(NamedTuple):
    """One step's settings; `number` counts from 1 and sets the correction of the moments' bias."""

    number: int
    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


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
    return out.index_add_(0, latents_of(index), products)


def latent_sums(index: LatentIndex, weights: Float[Tensor, " entries"]) -> Float[Tensor, " d_sae"]:
    """Σ_e weights[e] over the entries e of each latent."""
    dtype = torch.float64 if weights.dtype == torch.float64 else torch.float32
    out = torch.zeros(len(index.starts) - 1, dtype=dtype, device=weights.device)
    return out.index_add_(0, latents_of(index), weights[index.entries].to(dtype))


@torch.no_grad()
def latent_update(
    index: LatentIndex,
    values: Float[Tensor, " entries"],
    value_gradients: Float[Tensor, " entries"],
    x: Float[Tensor, "n d"],
    g: Float[Tensor, "n d"],
    parameters: Parameters,
    moments: Moments,
    step: AdamStep,
) -> None:
    """One Adam step on every latent's rows and bias, in place, from the codes and their gradients.

    x is what the encoder read and g = ∂L/∂x̂. The decoder's gradient is made orthogonal to its row (of norm 1), and the
    row is given norm 1 again. A latent without a firing takes its step too: its moments decay.
    """
    decoder = weighted_rows(index, values, g)
    decoder -= (decoder * parameters.decoder).sum(1, keepdim=True) * parameters.decoder
    gradients = (decoder, weighted_rows(index, value_gradients, x), latent_sums(index, value_gradients))
    corrections = 1 - step.beta1**step.number, 1 - step.beta2**step.number
    for parameter, gradient, mean, square in zip(parameters, gradients, moments[::2], moments[1::2], strict=True):
        mean.lerp_(gradient, 1 - step.beta1)
        square.mul_(step.beta2).addcmul_(gradient, gradient, value=1 - step.beta2)
        scale = (square / corrections[1]).sqrt_().add_(step.epsilon)
        parameter.addcdiv_(mean, scale, value=-step.lr / corrections[0])
    F.normalize(parameters.decoder, dim=1, out=parameters.decoder)
