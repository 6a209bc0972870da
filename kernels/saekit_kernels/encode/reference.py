"""Encoding in plain torch: all pre-activations at once, autograd through them."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.batch_top_k.reference import batch_top_k
from saekit_kernels.sparse_codes import SparseCodes, offsets_of
from saekit_kernels.top_k import top_k


def encode_top_k(
    x: Float[Tensor, "*shape d_in"],
    directions: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    k: int,
    centre: Float[Tensor, " d_in"] | None,
) -> SparseCodes:
    """ReLU of the k largest u of each token, zeros among them; differentiable in all four tensors."""
    return top_k(pre_activations(x, directions, bias, centre), k)


def encode_batch_top_k(
    x: Float[Tensor, "*shape d_in"],
    directions: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    wanted: int,
    centre: Float[Tensor, " d_in"] | None,
) -> SparseCodes:
    """The ``wanted`` largest positive u of all tokens, of equals those that come first; differentiable likewise."""
    u = pre_activations(x, directions, bias, centre)
    places = batch_top_k(u.detach().reshape(-1, len(directions)), wanted)[1]
    return _at(u, places // len(directions), places % len(directions))


def encode_above(
    x: Float[Tensor, "*shape d_in"],
    directions: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    threshold: Float[Tensor, ""] | Float[Tensor, " d_sae"],
    centre: Float[Tensor, " d_in"] | None,
) -> SparseCodes:
    """u where it is above the threshold, one for all latents or one a latent; differentiable likewise."""
    u = pre_activations(x, directions, bias, centre)
    kept = ~(u.detach().reshape(-1, len(directions)) <= threshold)  # NaN too
    return _at(u, *kept.nonzero(as_tuple=True))


def _at(
    u: Float[Tensor, "*shape d_sae"], rows: Int[Tensor, " entries"], latents: Int[Tensor, " entries"]
) -> SparseCodes:
    """The codes that hold u at these places, which stand in row-major order."""
    flat = u.reshape(-1, u.shape[-1])
    offsets = offsets_of(rows, len(flat))
    return SparseCodes(flat[rows, latents], latents.int(), offsets, u.shape[-1], tuple(u.shape[:-1]))


def pre_activations(
    x: Float[Tensor, "*shape d_in"],
    directions: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    centre: Float[Tensor, " d_in"] | None,
) -> Float[Tensor, "*shape d_sae"]:
    """u = W_enc (x − centre) + b, in x's dtype also where autocast multiplies in another."""
    return F.linear(x if centre is None else x - centre, directions, bias).to(x.dtype)
