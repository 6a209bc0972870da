"""Processes that train together: the gradients of their shares of a batch add up to those of the whole."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.engines import processes
from saekit.objectives import Batch
from saekit.training.learners import make_learner
from saekit.training.settings import Settings

N, D = 65, 12  # tokens of a batch that does not divide evenly by two


def gradients(wiring: sk.Wiring, method: sk.Method, batch: Batch, monkeypatch, number: int, count: int):
    """What a process hands the optimiser, before the others' is added."""
    settings = Settings(10, N, 1e-3, dtype=torch.float64)
    learner = make_learner(method, wiring, {site: D for site in wiring.sites}, settings)
    seen: list[torch.Tensor] = []

    def step() -> None:
        seen.extend(p.grad.clone() for group in learner.optimizer.param_groups for p in group["params"])

    with monkeypatch.context() as patch:
        patch.setattr(processes, "count", lambda: count)
        patch.setattr(processes, "number", lambda: number)
        patch.setattr(processes, "summed", lambda tensor: tensor)
        patch.setattr(learner.optimizer, "step", step)
        learner.update(batch, dict.fromkeys(wiring.sites, 1.0), 0, False)
    return seen


@pytest.mark.parametrize("method", [sk.TopK(d_sae=40, k=3), sk.ReLU(d_sae=40)], ids=["row gradient", "backward"])
@pytest.mark.parametrize("each", [False, True])
def test_shares_add_up(method, each, monkeypatch):
    """Of a dictionary for each of two sites too, whose batch has twice as many rows as tokens."""
    wiring = sk.Wiring(["a", "b"], each=True) if each else sk.Wiring("a")
    x = torch.randn(N * (2 if each else 1), D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batch = Batch({"a": x}, {"a": x})
    whole = gradients(wiring, method, batch, monkeypatch, 0, 1)
    parts = [gradients(wiring, method, batch, monkeypatch, number, 2) for number in (0, 1)]
    for alone, first, second in zip(whole, *parts, strict=True):
        torch.testing.assert_close(first + second, alone, rtol=1e-9, atol=1e-12)


def test_density_is_a_share_of_rows():
    """A latent that fires in every row has density 1 in the end, not the number of sites."""
    wiring = sk.Wiring(["a", "b"], each=True)
    learner = make_learner(sk.TopK(d_sae=2, k=2), wiring, {"a": D, "b": D}, Settings(10, N, 1e-3))
    with torch.no_grad():
        learner.dictionary.encoder_bias.fill_(100.0)  # both fire always
    x = torch.randn(2 * N, D, generator=torch.Generator().manual_seed(0))
    learner.update(Batch({"a": x}, {"a": x}), {"a": 1.0, "b": 1.0}, 0, False)
    torch.testing.assert_close(learner.density, torch.full((2,), 0.01))
