"""Decoding in plain torch: an embedding bag over the entries, so that no [n, d_sae] tensor is ever made."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.sparse_codes import SparseCodes


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
    x_hat = F.embedding_bag(
        codes.indices.long(),
        decoder_directions,
        codes.offsets,
        mode="sum",
        per_sample_weights=codes.values.to(decoder_directions.dtype),
        include_last_offset=True,
    )
    if bias is not None:
        x_hat = x_hat + bias
    return x_hat.view(*codes.shape, decoder_directions.shape[1])
