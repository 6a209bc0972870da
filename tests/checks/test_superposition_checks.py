"""The checks of 01_superposition: right answers pass, each mistake is named."""

from __future__ import annotations

import pytest
import torch

from saekit.checks import check_found, check_sparsity_loss


def cosines(true, rows):
    return torch.nn.functional.cosine_similarity(true[:, None], rows[None], dim=2)


LOSSES = {
    "right": (lambda z, d: (z * d.norm(dim=1)).sum(1).mean(), None),
    "right, by a product": (lambda z, d: (z @ d.norm(dim=1)).mean(), None),
    "no norm": (lambda z, d: z.sum(1).mean(), "shrink W_enc, grow W_dec"),
    "no norm, summed": (lambda z, d: z.sum(), "norms are missing, and it is the sum over tokens"),
    "summed": (lambda z, d: (z * d.norm(dim=1)).sum(), "a larger batch would be punished more"),
    "mean of all": (lambda z, d: (z * d.norm(dim=1)).mean(), "the mean over latents too"),
    "squared norms": (lambda z, d: (z * d.square().sum(1)).sum(1).mean(), "the norms are squared"),
    "squared z": (lambda z, d: (z.square() * d.norm(dim=1)).sum(1).mean(), "z is squared"),
    "counted": (lambda z, d: ((z > 0) * d.norm(dim=1)).sum(1).mean(), "its gradient is zero"),
    "two by hand": (lambda z, d: (z * d.norm(dim=1)).sum() / 2, "a number of tokens in by hand"),
    "nothing": (lambda z, d: None, "forget to return"),
    "a vector": (lambda z, d: (z * d.norm(dim=1)).sum(1), r"one number, found shape \[2\]"),
    "a text": (lambda z, d: "much", "should be a number, found 'much'"),
    "something": (lambda z, d: 17.0, "the loss is 5.000, found 17.000"),
}
FOUND = {
    "right": (lambda t, r: (cosines(t, r).abs().amax(1) > 0.9).float().mean(), None),
    "signed": (lambda t, r: (cosines(t, r).amax(1) > 0.9).float().mean(), "points the other way"),
    "by rows": (lambda t, r: (cosines(t, r).abs().amax(0) > 0.9).float().mean(), "the share of the rows"),
    "by rows, signed": (lambda t, r: (cosines(t, r).amax(0) > 0.9).float().mean(), "without those that point"),
    "counted": (lambda t, r: (cosines(t, r).abs().amax(1) > 0.9).sum(), "divide by how many"),
    "dot products": (lambda t, r: ((t @ r.T).abs().amax(1) > 0.9).float().mean(), "divide by the norms"),
    "nothing": (lambda t, r: None, "forget to return"),
    "a text": (lambda t, r: "most", "a number, found 'most'"),
    "something": (lambda t, r: 0.5, "two are found, so 0.67; your function says 0.50"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_sparsity_loss(judged, name):
    judged(check_sparsity_loss, *LOSSES[name])


@pytest.mark.parametrize("name", FOUND)
def test_found(judged, name):
    judged(check_found, *FOUND[name])
