"""The jump at a threshold: its values, and its gradients against the formulas, entry by entry."""

from __future__ import annotations

import pytest
import torch

from saekit.objectives import jump, l0_step

WIDTH = 0.25
"""ε; with it and θ = 1 every number here is exact in binary."""
AT = {
    "far below": 0.5,
    "at the lower edge": 0.875,  # θ − ε/2: |u − θ| / ε = ½ is outside, rect is 1 for |t| < ½
    "just inside it": 0.9375,
    "just below θ": 0.99609375,
    "at θ": 1.0,  # no jump yet: u > θ is strict
    "just above θ": 1.00390625,
    "inside the upper edge": 1.0625,
    "at the upper edge": 1.125,
    "far above": 3.0,
}
INSIDE = [0, 0, 1, 1, 1, 1, 1, 0, 0]
ABOVE = [0, 0, 0, 0, 0, 1, 1, 1, 1]


def entries(threshold: float = 1.0):
    u = torch.tensor(list(AT.values()), dtype=torch.float64) * threshold
    return u.requires_grad_(), torch.full_like(u, threshold).requires_grad_()


def test_values():
    u, threshold = entries()
    assert jump(u, threshold, WIDTH).tolist() == [0, 0, 0, 0, 0, 1.00390625, 1.0625, 1.125, 3]
    assert l0_step(u, threshold, WIDTH).tolist() == ABOVE


@pytest.mark.parametrize("theta", [1.0, 4.0])
def test_the_jumps_gradients_by_hand(theta):
    """∂z/∂u = 1[u > θ], ∂z/∂θ = −(θ / ε) rect((u − θ) / ε): below θ too, and nothing where |u − θ| = ε/2."""
    u, threshold = entries(theta)
    of_u, of_threshold = torch.autograd.grad(jump(u, threshold, WIDTH * theta).sum(), [u, threshold])
    assert of_u.tolist() == ABOVE
    assert of_threshold.tolist() == [-4.0 * inside for inside in INSIDE], "−θ/ε = −4 for either θ"


@pytest.mark.parametrize("theta", [1.0, 4.0])
def test_the_steps_gradients_by_hand(theta):
    """∂‖z‖₀/∂θ = −(1 / ε) rect((u − θ) / ε), and none in u."""
    u, threshold = entries(theta)
    active = l0_step(u, threshold, WIDTH * theta).sum()
    of_u, of_threshold = torch.autograd.grad(active, [u, threshold], allow_unused=True)
    assert of_u is None
    assert of_threshold.tolist() == [-4.0 / theta * inside for inside in INSIDE]


def test_the_chain_rule_multiplies_each_entry_by_its_own_slope():
    u, threshold = entries()
    slope = torch.linspace(-2, 3, len(u), dtype=torch.float64)
    (of_jump,) = torch.autograd.grad((slope * jump(u, threshold, WIDTH)).sum(), [threshold])
    (of_step,) = torch.autograd.grad((slope * l0_step(u, threshold, WIDTH)).sum(), [threshold])
    expected = -4 * slope * torch.tensor(INSIDE)
    assert torch.allclose(of_jump, expected) and torch.allclose(of_step, expected)


def test_where_it_is_smooth_the_gradient_is_the_true_one():
    """Away from the threshold z is u or 0, and θ does nothing."""
    u = torch.tensor([-1.0, 0.3, 1.5, 2.5], dtype=torch.float64, requires_grad=True)
    threshold = torch.full((4,), 1.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, t: jump(u, t, 0.5), [u, threshold], eps=1e-4)
    assert torch.autograd.gradcheck(lambda t: l0_step(u.detach(), t, 0.5), [threshold], eps=1e-4)


def test_the_expected_gradient_of_a_smooth_density():
    """What the estimator is for: over u ~ N(0, 1) the mean of ∂‖z‖₀/∂θ is d/dθ P(u > θ) = −φ(θ), and that of ∂z/∂θ is
    d/dθ E[u 1[u > θ]] = −θ φ(θ)."""
    theta, n = 0.7, 400_000
    u = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    phi = float(torch.exp(torch.tensor(-(theta**2) / 2)) / (2 * torch.pi) ** 0.5)
    threshold = torch.full((n,), theta, dtype=torch.float64, requires_grad=True)
    (of_step,) = torch.autograd.grad(l0_step(u, threshold, 0.2).mean(), [threshold])
    (of_jump,) = torch.autograd.grad(jump(u, threshold, 0.2).mean(), [threshold])
    assert float(of_step.sum()) == pytest.approx(-phi, rel=0.02)
    assert float(of_jump.sum()) == pytest.approx(-theta * phi, rel=0.02)
