"""MCC by hand and against every assignment; the planted features are what they say."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

import saekit as sk
from saekit.corpora.planted import superposition
from saekit.metrics import mcc


def test_by_hand():
    true = torch.eye(3)
    assert mcc(true, -2 * true[[2, 0, 1]]) == pytest.approx(1)
    assert mcc(true, true[:2]) == pytest.approx(2 / 3), "one is not found"
    assert mcc(true, torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 0, 5]])) == pytest.approx((0.5**0.5 + 0 + 1) / 3)
    assert mcc(true[:1], true) == pytest.approx(1), "more may be found than are there"


def test_against_every_assignment():
    generator = torch.Generator().manual_seed(0)
    true, found = (torch.randn(5, 3, generator=generator) for _ in range(2))
    cosines = torch.nn.functional.cosine_similarity(true[:, None], found[None], dim=2).abs()
    best = max(sum(float(cosines[i, j]) for i, j in enumerate(order)) for order in permutations(range(5)))
    assert mcc(true, found) == pytest.approx(best / 5, abs=1e-6)


def test_refused():
    with pytest.raises(ValueError, match=r"found \[2, 3\], \[2, 4\]"):
        mcc(torch.ones(2, 3), torch.ones(2, 4))


def test_planted_features():
    world = superposition(features=40, dimensions=10, highest=0.2, lowest=0.01, seed=3)
    assert torch.allclose(world.directions.norm(dim=1), torch.ones(40))
    p = world.probabilities
    assert p[0] == pytest.approx(0.2) and p[-1] == pytest.approx(0.01) and bool((p.diff() < 0).all())
    assert p[3] / p[1] == pytest.approx(p[1] / p[0]), "a power law: equal ratios at rank 1, 2, 4"
    a = world.activations(60_000, seed=1)
    assert torch.allclose((a > 0).float().mean(0), p, atol=0.008)
    assert bool((a <= 1).all()) and float(a[a > 0].mean()) == pytest.approx(0.5, abs=0.01)
    x = world.sample(70_000, seed=1)
    assert torch.equal(x[:60], world.sample(70_000, seed=1)[:60]) and x.shape == (70_000, 10)
    assert not torch.equal(x[:60], world.sample(60, seed=2))
    for wrong in ({"features": 0}, {"highest": 0.1, "lowest": 0.2}, {"lowest": 0.0}):
        with pytest.raises(ValueError, match="found"):
            superposition(**wrong)


@pytest.mark.parametrize("seed", [0, 7])
def test_no_dictionary_begins_at_the_truth(seed):
    """With the seed of the world the first decoder rows were its directions, and whoever trained so saw MCC 1."""
    world = superposition(features=64, dimensions=16, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        begun = sk.TopK(d_sae=64, k=2).build(sk.Wiring("x"), {"x": 16}).decoder_directions.detach()
        others = torch.nn.functional.normalize(torch.randn(64, 16), dim=1)
    assert abs(mcc(world.directions, begun) - mcc(world.directions, others)) < 0.05
