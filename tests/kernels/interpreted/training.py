"""Training on the Triton kernels, in the interpreter: the same steps as plain torch, from the public functions."""

from __future__ import annotations

import os

import pytest
import torch
from saekit_kernels import SparseCodes, decode, dispatch, encode_above, encode_batch_top_k, encode_top_k, using
from torch import Tensor

import saekit as sk

PLANTED, D, N = 20, 12, 16
STEPS = int(os.environ.get("STEPS", "8"))  # 200 take a quarter of an hour in the interpreter


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(dispatch, "VARIABLE", "interpret")


def planted() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(PLANTED, D, generator=generator), dim=1)
    latents = torch.rand(2000, PLANTED, generator=generator).topk(2).indices
    return torch.zeros(2000, PLANTED).scatter(1, latents, torch.rand(2000, 2, generator=generator) + 0.5) @ directions


def trained(configuration: sk.Method, kernels: str) -> sk.training.Run:
    # No more rows than are trained on: all would be coded for latent_max in the end, in the interpreter.
    x, settings = planted()[: N * STEPS], {"tokens": N * STEPS, "batch_size": N, "lr": 2e-3, "dtype": torch.float32}
    return sk.train(x, None, configuration, kernels=kernels, callback=lambda _: None, **settings)


@pytest.mark.parametrize("configuration", [sk.TopK(d_sae=28, k=2), sk.BatchTopK(d_sae=28, k=2)])
def test_steps_as_plain_torch(interpreted, configuration):
    ours, plain = trained(configuration, "auto"), trained(configuration, "reference")
    losses = [[record["loss"] for record in run.records] for run in (ours, plain)]
    assert len(losses[0]) == STEPS
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 0.01 * losses[1][0]
    assert abs(ours.records[-1]["explained_variance"] - plain.records[-1]["explained_variance"]) < 0.002
    assert ours.records[-1]["dead"] == plain.records[-1]["dead"]


def gradients(make, kernels: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((9, D), (28, D), (28,), (D,))
    x, directions, bias, centre = (torch.randn(*s, generator=generator).requires_grad_() for s in shapes)
    with using(kernels):
        codes: SparseCodes = make(x, directions, bias, centre)
        loss = decode(codes, directions, centre).square().sum()
        found = torch.autograd.grad(loss, (x, directions, bias, centre))
    return [codes.values, codes.indices, loss, *found]


@pytest.mark.parametrize(
    "make",
    [
        lambda x, w, b, c: encode_top_k(x, w, b, 3, c),
        lambda x, w, b, c: encode_above(x, w, b, 1.0, c),
        lambda x, w, b, c: encode_batch_top_k(x, w, b, 30, 0.0, c),
        lambda x, w, b, c: encode_batch_top_k(x, w, b, 30, 1.5, c),
    ],
)
def test_public_functions_and_their_gradients(interpreted, make):
    for found, wanted in zip(gradients(make, "auto"), gradients(make, "reference"), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
