"""The fast path trains as plain torch does: 200 steps, side by side."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels.top_k import cpu

import saekit as sk

D, PLANTED = 24, 60


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(PLANTED, D, generator=generator), dim=1)
    latents = torch.rand(20_000, PLANTED, generator=generator).topk(3).indices
    strengths = torch.rand(20_000, 3, generator=generator) + 0.5
    return torch.zeros(20_000, PLANTED).scatter(1, latents, strengths) @ directions


@pytest.mark.parametrize(
    "configuration",
    [
        sk.TopK(d_sae=96, k=3),
        sk.BatchTopK(d_sae=96, k=3),
        sk.TopK(d_sae=512, k=2),  # long rows: the two-step selection; and many dead, so that AuxK works
    ],
    ids=str,
)
def test_two_hundred_steps(x, configuration, monkeypatch):
    monkeypatch.setattr(cpu, "FEW", 0)
    settings = {"tokens": 200 * 256, "batch_size": 256, "lr": 3e-3, "callback": lambda _: None, "dtype": torch.float32}
    fast, plain = (sk.train(x, None, configuration, kernels=kernels, **settings) for kernels in ("cpu", "reference"))
    curves = [torch.tensor([record["loss"] for record in run.records]) for run in (fast, plain)]
    assert curves[0][-1] < 0.7 * curves[0][0], "it learned"
    torch.testing.assert_close(*curves, rtol=0.02, atol=0.002)
    last = [run.records[-1] for run in (fast, plain)]
    assert abs(last[0]["explained_variance"] - last[1]["explained_variance"]) < 0.002
    assert abs(last[0]["dead"] - last[1]["dead"]) <= 2 and last[0]["l0"] == pytest.approx(last[1]["l0"], abs=0.02)


def test_products_in_bfloat16_train_nearly_as_well(x):
    """The weights stay in float32; on a processor without bfloat16 it is only slower."""
    settings = {"tokens": 200 * 256, "batch_size": 256, "lr": 3e-3, "callback": lambda _: None}
    exact, mixed = (
        sk.train(x, None, sk.TopK(d_sae=96, k=3), dtype=dtype, **settings) for dtype in (torch.float32, torch.bfloat16)
    )
    assert mixed.dictionary.encoder_directions.dtype == torch.float32
    assert not torch.equal(mixed.dictionary.encoder_directions, exact.dictionary.encoder_directions)
    variance = [sk.metrics.explained_variance(x, run.dictionary(x)) for run in (exact, mixed)]
    assert variance[0] > 0.8 and abs(variance[0] - variance[1]) < 0.005


def test_a_choice_is_kept_or_refused(x):
    with pytest.raises(ValueError, match="kernels='triton' was asked for, but the tensors are on cpu"):
        sk.train(x, None, sk.TopK(d_sae=96, k=3), tokens=512, kernels="triton")
