"""Checks of 01_superposition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def check_sparsity_loss(loss: Callable[[Tensor, Tensor], Any]) -> str:
    """Is ``loss(z, decoder)`` the mean over tokens of Σ_i z_i ‖d_i‖? Praise, or a diagnosis raised.

    z: [n, d_sae], none negative; decoder: [d_sae, d], a row a latent."""
    z = torch.tensor([[1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
    decoder = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, 0.5]])
    value = loss(z, decoder)
    if value is None:
        raise AssertionError("the loss returned None: did you forget to return the number?")
    if isinstance(value, Tensor) and value.numel() != 1:
        raise AssertionError(
            f"the loss should be one number, found shape {list(value.shape)}: sum, then take the mean."
        )
    if not hasattr(value, "__float__"):
        raise AssertionError(f"the loss should be a number, found {value!r}.")
    value = float(value)
    norms = decoder.norm(dim=1)
    right = float((z * norms).sum(1).mean())
    mistakes = {
        float(z.sum(1).mean()): "the decoder's norms are missing: a dictionary would halve all z, double all rows d_i, "
        "reconstruct the same and pay half: shrink W_enc, grow W_dec, and the penalty is gone",
        float(z.sum()): "the decoder's norms are missing, and it is the sum over tokens, not their mean",
        float((z * norms).sum()): "it is the sum over tokens: a larger batch would be punished more; take the mean",
        float(
            (z * norms).mean()
        ): "it is the mean over latents too: sum over the latents of a token, then take the mean",
        float((z * decoder.square().sum(1)).sum(1).mean()): "the norms are squared: ‖d_i‖, not ‖d_i‖²",
        float((z.square() * norms).sum(1).mean()): "z is squared: a squared penalty makes all latents small, none zero",
        float(((z != 0) * norms).sum(1).mean()): "it counts latents, whatever their strength: its gradient is zero",
    }
    if math.isclose(value, right, rel_tol=1e-5):
        more = float(loss(torch.cat([z, z]), decoder))
        if not math.isclose(more, right, rel_tol=1e-5):
            raise AssertionError(
                "twice the same tokens should cost the same: did you put a number of tokens in by hand?"
            )
        return "Right: what counts is how long each latent's part of the reconstruction is."
    for wrong, diagnosis in mistakes.items():
        if math.isclose(value, wrong, rel_tol=1e-5):
            raise AssertionError(f"{value:.3f} is not it: {diagnosis}.")
    raise AssertionError(
        f"for z = {z.tolist()} and rows {decoder.tolist()} the loss is {right:.3f}, found {value:.3f}."
    )


def check_found(found: Callable[[Tensor, Tensor], Any]) -> str:
    """Does ``found(true, rows)`` say which share of the true directions has a row with |cos| above .9? Praise, or a
    diagnosis raised.

    true: [features, d]; rows: [d_sae, d]; neither of unit norm."""
    axes = torch.eye(4)
    true = 3 * axes[:3]
    rows = torch.stack([10 * axes[0], 0.1 * axes[0], -2 * axes[1], axes[2] + axes[3], axes[3]])
    value = found(true, rows)
    if value is None:
        raise AssertionError("found returned None: did you forget to return the share?")
    if not hasattr(value, "__float__"):
        raise AssertionError(f"found should return a share, a number, found {value!r}.")
    value = float(value)
    mistakes = {
        1 / 3: "a row that points the other way, −d, is the same line: take the absolute value of the cosine",
        3 / 5: "it is the share of the rows that match something; asked is the share of the true directions that are "
        "found. Many rows may match one direction",
        2 / 5: "it is the share of the rows that match something, and without those that point the other way",
        2.0: "it is a number of directions: divide by how many there are",
        1.0: "did you compare dot products? Rows have any length: divide by the norms first",
    }
    if math.isclose(value, 2 / 3, rel_tol=1e-6):
        return "Right: every true direction asks for its best row, whatever that row's length and sign."
    for wrong, diagnosis in mistakes.items():
        if math.isclose(value, wrong, rel_tol=1e-6):
            raise AssertionError(f"{value:.2f} is not it: {diagnosis}.")
    raise AssertionError(f"of the three directions here two are found, so 0.67; your function says {value:.2f}.")
