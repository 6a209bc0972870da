"""Encoding: the few latents of a token that are kept, without the pre-activations of all others in memory.

u = W_enc (x − c) + b_enc is made for a chunk of tokens at a time, what is kept of it is taken out, and the chunk is
dropped. Backwards only the kept entries have a gradient, so that of W_enc is a sum of k rows a token instead of a dense
product (Gao et al. 2024, arXiv 2406.04093, appendix D).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.dispatch import path_for
from saekit_kernels.encode import reference
from saekit_kernels.encode.chunked import above, batch_top_k_entries, top_k_entries
from saekit_kernels.sparse_codes import SparseCodes

FEW = 2**17
"""Pre-activations below which a chunk, an operation of its own, costs more than it saves."""

__all__ = ["encode_above", "encode_batch_top_k", "encode_top_k"]


def encode_top_k(
    x: Float[Tensor, "*shape d_in"],
    directions: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    k: int,
    centre: Float[Tensor, " d_in"] | None = None,
) -> SparseCodes:
    """z = ReLU(top-k of u), u = W_enc (x − centre) + b: k entries a token, zeros where fewer are positive.

    Differentiable in x, directions, bias and centre. Under autocast the product is made in autocast's dtype. Raises
    ValueError when k is not in 1 … d_sae, or widths, devices or dtypes do not go together.
    """
    check(x, directions, bias, centre)
    if not 1 <= k <= len(directions):
        raise ValueError(f"k must be between 1 and the {len(directions)} latents there are, found {k}.")
    if _plain(x, directions):
        return reference.encode_top_k(x, directions, bias, k, centre)
    flat = x.reshape(-1, x.shape[-1])
    values, indices = top_k_entries(flat, directions, bias, centre, k, product_dtype(x))
    offsets = torch.arange(len(flat) + 1, device=x.device) * k
    return SparseCodes(values, indices, offsets, len(directions), tuple(x.shape[:-1]), k)


def encode_batch_top_k(
    x: Float[Tensor, "*shape d_in"],
    directions: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    wanted: int,
    lower_bound: float = 0.0,
    centre: Float[Tensor, " d_in"] | None = None,
) -> SparseCodes:
    """The ``wanted`` largest positive entries of u over all tokens, u = W_enc (x − centre) + b, all where there are
    fewer; of equals those that come first. Rows are ragged. NaN in u is the largest, so that a loss meets it.

    lower_bound: a guess that saves work and never changes the result, such as the smallest entry of the batch before,
    a little lowered. Differentiable and refused as ``encode_top_k``; ValueError when wanted is below 1.
    """
    check(x, directions, bias, centre)
    if wanted < 1:
        raise ValueError(f"wanted must be at least 1 entry of the batch, found {wanted}.")
    if _plain(x, directions):
        return reference.encode_batch_top_k(x, directions, bias, wanted, centre)
    flat = x.reshape(-1, x.shape[-1])
    values, indices, offsets = batch_top_k_entries(
        flat, directions, bias, centre, wanted, float(lower_bound), product_dtype(x)
    )
    return SparseCodes(values, indices, offsets, len(directions), tuple(x.shape[:-1]))


def encode_above(
    x: Float[Tensor, "*shape d_in"],
    directions: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    threshold: Float[Tensor, ""] | Float[Tensor, " d_sae"] | float,
    centre: Float[Tensor, " d_in"] | None = None,
) -> SparseCodes:
    """z = u · 1[u > threshold], u = W_enc (x − centre) + b, with one threshold or one a latent; rows are ragged. NaN in
    u is kept, so that a loss meets it.

    Differentiable in x, directions, bias and centre; the threshold gets no gradient. Errors as for ``encode_top_k``.
    """
    check(x, directions, bias, centre)
    threshold = torch.as_tensor(threshold, dtype=x.dtype, device=x.device).detach()
    if _plain(x, directions):
        return reference.encode_above(x, directions, bias, threshold, centre)
    flat = x.reshape(-1, x.shape[-1])
    values, indices, offsets = above(flat, directions, bias, centre, threshold, product_dtype(x))
    return SparseCodes(values, indices, offsets, len(directions), tuple(x.shape[:-1]))


def _plain(x: Tensor, directions: Tensor) -> bool:
    """Whether all pre-activations are made at once: when asked for, and on a CPU where they are few."""
    path = path_for(x)
    return path == "reference" or (path == "cpu" and x.numel() // x.shape[-1] * len(directions) <= FEW)


def product_dtype(x: Tensor) -> torch.dtype:
    """That of autocast where it is on, else that of x."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def check(x: Tensor, directions: Tensor, bias: Tensor, centre: Tensor | None) -> None:
    """Raise ValueError for widths, numbers, devices or dtypes that do not go together."""
    if not x.is_floating_point():
        raise ValueError(f"activations are floating point, found {x.dtype}.")
    if bias.shape != (len(directions),):
        raise ValueError(f"{len(directions)} directions need as many biases, found shape {tuple(bias.shape)}.")
    if x.shape[-1] != directions.shape[1]:
        raise ValueError(f"activations of width {x.shape[-1]} cannot be read by directions of {directions.shape[1]}.")
    for name, tensor in {"directions": directions, "bias": bias, "centre": centre}.items():
        if tensor is not None and (tensor.device != x.device or tensor.dtype != x.dtype):
            raise ValueError(
                f"activations are {x.dtype} on {x.device}, {name} {tensor.dtype} on {tensor.device}: make them agree."
            )
