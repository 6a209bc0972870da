"""Encoding in plain torch: all pre-activations at once, autograd through them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from saekit_kernels.batch_top_k.reference import batch_top_k
from saekit_kernels.sparse_codes import SparseCodes, offsets_of
from saekit_kernels.top_k import top_k


def encode_top_k(x: Tensor, directions: Tensor, bias: Tensor, k: int, centre: Tensor | None) -> SparseCodes:
    return top_k(pre_activations(x, directions, bias, centre), k)


def encode_batch_top_k(x: Tensor, directions: Tensor, bias: Tensor, wanted: int, centre: Tensor | None) -> SparseCodes:
    u = pre_activations(x, directions, bias, centre)
    places = batch_top_k(u.detach().reshape(-1, len(directions)), wanted)[1]
    return _at(u, places // len(directions), places % len(directions))


def encode_above(x: Tensor, directions: Tensor, bias: Tensor, threshold: Tensor, centre: Tensor | None) -> SparseCodes:
    u = pre_activations(x, directions, bias, centre)
    return _at(u, *(u.detach().reshape(-1, len(directions)) > threshold).nonzero(as_tuple=True))


def _at(u: Tensor, rows: Tensor, latents: Tensor) -> SparseCodes:
    flat = u.reshape(-1, u.shape[-1])
    offsets = offsets_of(rows, len(flat))
    return SparseCodes(flat[rows, latents], latents.int(), offsets, u.shape[-1], tuple(u.shape[:-1]))


def pre_activations(x: Tensor, directions: Tensor, bias: Tensor, centre: Tensor | None) -> Tensor:
    return F.linear(x if centre is None else x - centre, directions, bias).to(x.dtype)
