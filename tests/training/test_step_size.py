"""Adam's steps do not depend on how many numbers a loss is a mean over."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import saekit as sk
from saekit.dictionaries.top_k import TopKDictionary
from saekit.objectives import Batch
from saekit.training.learners import make_learner
from saekit.training.settings import Settings

N, D, LATENTS = 256, 32, 64
WIDE = 8192 * 2304  # tokens of a batch and width of a large model


@dataclass(frozen=True)
class Scaled(sk.TopK):
    factor: float = 1.0

    def build(self, wiring, widths):
        return ScaledDictionary(self, wiring, widths)


class ScaledDictionary(TopKDictionary):
    def loss(self, batch, state):
        loss = super().loss(batch, state)
        return loss._replace(total=loss.total * self.method.factor)


def trained(factor: float) -> list[torch.Tensor]:
    """What the parameters are after 40 steps, after what they were."""
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(1))
    settings = Settings(steps=40, batch_size=N, lr=1e-3)
    learner = make_learner(Scaled(LATENTS, k=4, factor=factor), sk.Wiring("x"), {"x": D}, settings)
    before = [p.detach().clone() for p in learner.dictionary.parameters()]
    for step in range(settings.steps):
        learner.update(Batch.of(x), {"x": 1.0}, step, False)
    return [p.detach() - b for p, b in zip(learner.dictionary.parameters(), before, strict=True)]


def test_a_loss_scaled_by_width_is_trained_alike():
    """With torch's own ε of 1e-8 it is not: the steps of a wide one differ by 6 %."""
    for small, wide in zip(trained(1.0), trained(N * D / WIDE), strict=True):
        difference = float((small - wide).norm() / small.norm())
        print(f"{difference:.1e}")
        assert difference < 0.03


@pytest.mark.parametrize("factor", [0.5, 8.0])
def test_a_power_of_two_changes_little(factor):
    for small, other in zip(trained(1.0), trained(factor), strict=True):
        assert float((small - other).norm() / small.norm()) < 1e-4
