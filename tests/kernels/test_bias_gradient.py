"""bias_gradient against autograd through the subtraction of the bias."""

from __future__ import annotations

import torch
from saekit_kernels.bias_gradient import bias_gradient


def test_equals_autograd_through_the_subtraction():
    generator = torch.Generator().manual_seed(0)
    x, encoder = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (9, 20))
    s = torch.randn(9, 20, generator=generator, dtype=torch.float64)
    bias = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    (((x - bias) @ encoder.T) * s).sum().backward()
    torch.testing.assert_close(bias_gradient(s.sum(0), encoder), bias.grad)


def test_bfloat16_rows_and_latents_that_never_fired():
    encoder = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    found = bias_gradient(torch.ones(20), encoder.bfloat16())
    torch.testing.assert_close(found.float(), -encoder.sum(0), rtol=2e-2, atol=2e-2)
    assert torch.equal(bias_gradient(torch.zeros(20), encoder), torch.zeros(6))
