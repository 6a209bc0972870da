"""Encoding in plain torch: all pre-activations at once, autograd through them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from saekit_kernels.sparse_codes import SparseCodes
from saekit_kernels.top_k import top_k


def encode_top_k(x: Tensor, directions: Tensor, bias: Tensor, k: int, centre: Tensor | None) -> SparseCodes:
    return top_k(pre_activations(x, directions, bias, centre), k)


def encode_above(x: Tensor, directions: Tensor, bias: Tensor, threshold: Tensor, centre: Tensor | None) -> SparseCodes:
    u = pre_activations(x, directions, bias, centre)
    rows, latents = (u.reshape(-1, len(directions)) > threshold).nonzero(as_tuple=True)
    values = u.reshape(-1, len(directions))[rows, latents]
    n = u.numel() // len(directions)
    offsets = torch.cat([rows.new_zeros(1), torch.bincount(rows, minlength=n).cumsum(0)])
    return SparseCodes(values, latents.int(), offsets, len(directions), tuple(x.shape[:-1]))


def pre_activations(x: Tensor, directions: Tensor, bias: Tensor, centre: Tensor | None) -> Tensor:
    return F.linear(x if centre is None else x - centre, directions, bias).to(x.dtype)
