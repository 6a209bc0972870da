"""The terms of a loss, each by hand."""

from __future__ import annotations

import math

import pytest
import torch

from saekit.objectives import cross_entropy, divergence, l0_target, sparsity, squared_errors, warm_up


def test_squared_errors_by_hand():
    """(3 − 1)² + (1 − 1)² = 4, (0 − 1)² + (−2 − 1)² = 10: a number a token, neither a mean nor a root."""
    target, x_hat = torch.tensor([[3.0, 1], [0, -2]]), torch.ones(2, 2)
    assert squared_errors(target, x_hat).tolist() == [4, 10] == squared_errors(x_hat, target).tolist()


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        ("l1", [3.0, 0.5]),
        ("log", [math.log(2) + math.log(3), math.log(1.5)]),
        ("tanh", [math.tanh(1) + math.tanh(2), math.tanh(0.5)]),
    ],
)
def test_sparsity_by_hand(penalty, expected):
    a = torch.tensor([[1.0, 2, 0], [0, 0, 0.5]]).double()
    assert sparsity(a, penalty).tolist() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(sparsity(a), sparsity(a, "l1")), "ℓ1 where nothing is said"


def test_warm_up_by_hand():
    """A tenth of the run, where nothing else is said; then 1 to the end."""
    wanted = {0.0: 0.0, 0.025: 0.25, 0.1: 1.0, 0.5: 1.0, 1.0: 1.0}
    assert {progress: warm_up(progress) for progress in wanted} == pytest.approx(wanted)
    assert warm_up(0.25, share=0.5) == 0.5


def test_l0_target_by_hand():
    """(L0 / L0* − 1)², which knows no difference between too many and too few; ∂/∂L0 = 2 (L0 / L0* − 1) / L0*."""
    for l0, loss, slope in ((16.0, 0.0, 0.0), (32.0, 1.0, 0.125), (8.0, 0.25, -0.0625), (0.0, 1.0, -0.125)):
        active = torch.tensor(l0, requires_grad=True)
        found = l0_target(active, 16)
        found.backward()
        assert float(found.detach()) == loss and active.grad is not None and float(active.grad) == slope


def test_cross_entropy_by_hand():
    """Odds 1 : 3 and 2 : 2; what follows is the second and the first token: −(ln ¾ + ln ½) / 2."""
    logits = torch.tensor([[1.0, 3], [2, 2]]).log()
    expected = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    assert float(cross_entropy(logits, torch.tensor([1, 0]))) == pytest.approx(expected, rel=1e-6)
    assert float(cross_entropy(logits + 50, torch.tensor([1, 0]))) == pytest.approx(expected, rel=1e-5)


def test_divergence_by_hand():
    """KL(clean ‖ changed) = Σ p ln(p / q), a mean over predictions: p = (¼, ¾), q = (½, ½), and twice the same."""
    clean, changed = torch.tensor([[1.0, 3], [2, 2]]).log(), torch.tensor([[1.0, 1], [5, 5]]).log()
    one_way = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    the_other = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(divergence(clean, changed)) == pytest.approx(one_way / 2, rel=1e-6)
    assert float(divergence(changed, clean)) == pytest.approx(the_other / 2, rel=1e-6)
    assert one_way != pytest.approx(the_other, rel=0.05), "the order matters, and these numbers show it"


def test_divergence_is_at_least_zero_and_its_slope_at_the_clean_logits_is_nothing():
    generator = torch.Generator().manual_seed(0)
    clean, changed = torch.randn(2, 40, 11, generator=generator)
    assert divergence(clean, changed) > 0
    at = clean.clone().requires_grad_()
    divergence(clean, at).backward()
    assert abs(float(divergence(clean, clean))) < 1e-7 and at.grad is not None and at.grad.abs().max() < 1e-8
