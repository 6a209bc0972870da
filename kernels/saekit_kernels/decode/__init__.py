"""Decoding: the weighted sum of the decoder rows of a token's latents, x̂ = Σ_i z_i d_i + b."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.decode import reference
from saekit_kernels.decode.gradients import value_gradients
from saekit_kernels.dispatch import path_for
from saekit_kernels.sparse_codes import SparseCodes

__all__ = ["decode", "decode_entries", "value_gradients"]


def decode(
    codes: SparseCodes,
    decoder_directions: Float[Tensor, "d_sae d_out"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "*shape d_out"]:
    """x̂ = Σ_i z_i d_i + b for every token; an empty row gives the bias. Differentiable in values, rows and bias.

    Raises ValueError when the codes and the decoder disagree on the number of latents.
    """
    if codes.d_sae != len(decoder_directions):
        raise ValueError(f"codes of {codes.d_sae} latents cannot be decoded by {len(decoder_directions)} directions.")
    values = codes.values.to(decoder_directions.dtype)
    x_hat = decode_entries(values, codes.indices, codes.offsets, decoder_directions)
    if bias is not None:
        x_hat = x_hat + bias
    return x_hat.view(*codes.shape, decoder_directions.shape[1])


def decode_entries(
    values: Float[Tensor, " entries"],
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    directions: Float[Tensor, "d_sae d"],
) -> Float[Tensor, "rows d"]:
    """Σ over the entries of each row of value · direction."""
    if path_for(directions) == "triton":
        from saekit_kernels.decode.operation import gathered

        return gathered(values, indices, offsets, directions)
    return reference.decode_entries(values, indices, offsets, directions)
