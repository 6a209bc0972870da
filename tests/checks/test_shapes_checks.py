"""The checks of 02_shapes_of_dictionaries: right answers pass, each mistake is named."""

from __future__ import annotations

import pytest
import torch

from saekit.checks import check_by_head, check_share


def norms(a, b):
    return a.norm(dim=1), b.norm(dim=1)


SHARES = {
    "right": (lambda a, b: norms(a, b)[1] / sum(norms(a, b)), None),
    "a list": (lambda a, b: (norms(a, b)[1] / sum(norms(a, b))).tolist(), None),
    "the first's": (lambda a, b: norms(a, b)[0] / sum(norms(a, b)), "the share of the first model"),
    "squares": (lambda a, b: (b**2).sum(1) / ((a**2).sum(1) + (b**2).sum(1)), "squares of the norms"),
    "together": (lambda a, b: b.norm(dim=1) / torch.cat([a, b], 1).norm(dim=1), "the sum of the two norms, not"),
    "sums": (lambda a, b: b.sum(1) / (a + b).sum(1), "signs cancel"),
    "a ratio": (lambda a, b: b.norm(dim=1) / a.norm(dim=1), "no upper end"),
    "of dimensions": (lambda a, b: b.norm(dim=0) / (a.norm(dim=0) + b.norm(dim=0)), r"shape \[4\]; found \[3\]"),
    "nothing": (lambda a, b: None, "forget to return"),
    "something": (lambda a, b: a.norm(dim=1) * 0 + 0.25, "your function says"),
}
HEADS = {
    "right": (lambda z, row, heads: (z * row).unflatten(0, (heads, -1)).sum(1), None),
    "by dimension": (lambda z, row, heads: (z * row).view(-1, heads).sum(1), "which axis are the heads"),
    "interleaved": (lambda z, row, heads: (z * row).view(-1, heads).sum(0), "unflatten to"),
    "the mean": (lambda z, row, heads: (z * row).view(heads, -1).mean(1), "a product is their sum"),
    "absolute": (lambda z, row, heads: (z * row).view(heads, -1).abs().sum(1), "leave out the absolute values"),
    "shares": (lambda z, row, heads: (z * row).view(heads, -1).sum(1) / (z @ row), "shares of the sum"),
    "no row": (lambda z, row, heads: z.view(heads, -1).sum(1), "the latent's own row"),
    "one number": (lambda z, row, heads: z @ row, r"shape \[2\]; found \[\]"),
    "nothing": (lambda z, row, heads: None, "forget to return"),
}


@pytest.mark.parametrize("name", SHARES)
def test_share(judged, name):
    judged(check_share, *SHARES[name])


@pytest.mark.parametrize("name", HEADS)
def test_by_head(judged, name):
    judged(check_by_head, *HEADS[name])
