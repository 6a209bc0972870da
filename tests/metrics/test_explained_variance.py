"""Explained variance: hand-computed numbers, batching, large means, the identity."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from saekit_kernels import SparseCodes, decode

from saekit.metrics import ExplainedVariance, explained_variance, l0


def in_fractions(x: list[list[int]], x_hat: list[list[int]]) -> Fraction:
    """1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², exactly."""
    n, width = len(x), len(x[0])
    mean = [Fraction(sum(row[j] for row in x), n) for j in range(width)]
    error = sum((a - b) ** 2 for row, hat in zip(x, x_hat, strict=True) for a, b in zip(row, hat, strict=True))
    spread = sum((row[j] - mean[j]) ** 2 for row in x for j in range(width))
    return 1 - error / spread


def streamed(x: torch.Tensor, x_hat: torch.Tensor, sizes: list[int]) -> float:
    measure = ExplainedVariance()
    for part, hat in zip(x.split(sizes), x_hat.split(sizes), strict=True):
        measure.add(part, hat)
    return measure.value


def test_by_hand():
    # errors 1 + 1 = 2; the mean is (1, 2), so the spread is 1 + 4 + 1 + 4 = 10
    x, x_hat = torch.tensor([[2.0, 0], [0, 4]]), torch.tensor([[2.0, 1], [0, 3]])
    assert explained_variance(x, x_hat) == pytest.approx(0.8, abs=1e-15)


def test_reference_points():
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double() + 3
    assert explained_variance(x, x) == 1.0
    assert explained_variance(x, x.mean(0).expand_as(x)) == pytest.approx(0.0, abs=1e-12)
    assert explained_variance(x, 2 * x.mean(0) - x) == pytest.approx(-3.0, abs=1e-12)  # the error is 2(x − x̄)
    assert explained_variance(x, x + 100) < -1000, "no floor at 0"


def test_a_constant_shift_counts_as_error():
    # Others remove the residual's mean (dictionary_learning) or divide by the sum of squares (SAEBench); this one does
    # neither: x has spread 2 about its mean (11, 0), the shift of 0.5 on both tokens costs 2 · 0.25.
    x, x_hat = torch.tensor([[10.0, 0], [12.0, 0]]), torch.tensor([[10.5, 0], [12.5, 0]])
    assert explained_variance(x, x_hat) == pytest.approx(0.75, abs=1e-12)


def test_against_exact_fractions():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        x = torch.randint(-9, 10, (7, 3), generator=generator)
        x_hat = torch.randint(-9, 10, (7, 3), generator=generator)
        assert explained_variance(x, x_hat) == pytest.approx(float(in_fractions(x.tolist(), x_hat.tolist())), abs=1e-12)


@pytest.mark.parametrize("sizes", [[1] * 60, [60], [59, 1], [1, 59], [7, 13, 40], [30, 0, 30], [0, 60]])
def test_batching_does_not_matter(sizes):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(60, 5, generator=generator) * torch.tensor([1.0, 10, 100, 0.1, 0]) + 50
    x_hat = x + torch.randn(60, 5, generator=generator) * 5
    assert streamed(x, x_hat, sizes) == pytest.approx(explained_variance(x, x_hat), rel=1e-12)


@pytest.mark.parametrize("mean", [1e3, 1e6, 1e9])
def test_large_means_do_not_cancel(mean):
    """Without an origin the sum of squares of 1e9 leaves no digit of a spread of 1 in float64."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(0, 1024, (400, 4), generator=generator).double() / 1024  # exact also beside 1e9
    x_hat = x + torch.randint(-64, 65, (400, 4), generator=generator) / 1024
    assert streamed(x + mean, x_hat + mean, [100] * 4) == pytest.approx(explained_variance(x, x_hat), rel=1e-9)


def test_float32_input_is_summed_in_float64():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(100_000, 2, generator=generator) + 1000
    x_hat = x + torch.randn(100_000, 2, generator=generator) * 0.01
    wide = explained_variance(x.double(), x_hat.double())
    assert 1 - explained_variance(x, x_hat) == pytest.approx(1 - wide, rel=1e-10)


def test_leading_dimensions_are_tokens():
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(5))
    x_hat = x * 0.9
    assert explained_variance(x, x_hat) == explained_variance(x.reshape(20, 3), x_hat.reshape(20, 3))
    assert explained_variance(x.bfloat16(), x.bfloat16()) == 1.0


def test_identity_dictionary_explains_everything_with_d_latents():
    """Codes of signed coordinates, decoder the identity: explained variance 1 and L0 = d."""
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(6))
    codes = SparseCodes.from_dense(x)
    assert explained_variance(x, decode(codes, torch.eye(8))) == 1.0
    assert l0(codes) == 8.0


def test_the_untouched_case_is_not_a_number():
    same = torch.ones(3, 2)
    assert math.isnan(explained_variance(same, same)), "no spread, nothing to explain"


def test_bad_input():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"one shape, found \(3, 2\) and \(3, 1\)"):
        explained_variance(x, x[:, :1])
    with pytest.raises(ValueError, match="definition cannot be 'sae_bench_17'; the only one is 'saekit'"):
        explained_variance(x, x, definition="sae_bench_17")
    with pytest.raises(ValueError, match="no tokens"):
        explained_variance(x[:0], x[:0])
    with pytest.raises(ValueError, match="no tokens"):
        _ = ExplainedVariance().value
