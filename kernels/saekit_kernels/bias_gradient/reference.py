"""u = (x − b) W_encᵀ + b_enc gives ∂L/∂b = −Σ_t Σ_f s_tf e_f = −Σ_f S_f e_f: one product of a vector and a matrix."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def bias_gradient(
    latent_sums: Float[Tensor, " d_sae"], encoder_directions: Float[Tensor, "d_sae d"]
) -> Float[Tensor, " d"]:
    """−Σ_f S_f e_f, with S_f = Σ_t s_tf the sum of latent f's pre-activation gradients; in the directions' dtype.

    The [n, d] gradient of x itself is never made: 8,192 times the work at a batch of 8,192.
    """
    return -(latent_sums.to(encoder_directions.dtype) @ encoder_directions)
