"""JumpReLU: by hand, what its loss is made of, and that it reaches its target."""

from __future__ import annotations

import math

import pytest
import torch

import saekit as sk
from saekit.objectives import Batch, State


def ones(threshold, **settings):
    """x = [.3, .3] has u = [.6, .6, .6]: all of encoder and decoder ones, biases 0."""
    dictionary = sk.JumpReLU(d_sae=3, **({"l0": 2} | settings)).build(sk.Wiring("x"), {"x": 2}).double()
    with torch.no_grad():
        dictionary.encoder.directions.fill_(1)
        dictionary.decoder.directions.fill_(1)
        dictionary.log_threshold.copy_(torch.tensor(threshold, dtype=torch.float64).log())
    return dictionary


X = torch.tensor([[0.3, 0.3]]).double()


def test_by_hand():
    """θ = [1, .5, .25]: u = .6 passes the last two; x̂ = 1.2 a dimension."""
    dictionary = ones([1.0, 0.5, 0.25])
    assert torch.allclose(dictionary.encode_dense(X), torch.tensor([[0, 0.6, 0.6]]).double(), atol=1e-7)
    assert torch.allclose(dictionary(X), torch.full((1, 2), 1.2).double(), atol=1e-7)
    assert torch.allclose(dictionary.threshold, torch.tensor([1.0, 0.5, 0.25]).double(), atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "penalty"),
    [
        ({"l0": 1, "sparsity_weight": 0.5}, 0.5 * (2 / 1 - 1) ** 2),
        ({"l0": None, "sparsity_weight": 0.5}, 0.5 * 2 / 2),
    ],
    ids=["target", "no target"],
)
def test_the_loss_by_hand(settings, penalty):
    """Two latents on, error (1.2 − .3)² a dimension; λ (L0 / l0 − 1)², or λ L0 / d; λ grows over a tenth of the run."""
    dictionary = ones([1.0, 0.5, 0.25], **settings)
    late = dictionary.loss(Batch.of(X), State(step=5, steps=10))
    assert float(late.total.detach()) == pytest.approx(0.81 + penalty, rel=1e-6)
    assert late.error.tolist() == pytest.approx([2 * 0.81], rel=1e-6)
    assert torch.equal(late.codes.to_dense().detach() != 0, torch.tensor([[False, True, True]]))
    early = dictionary.loss(Batch.of(X), State(step=1, steps=40))
    assert float(early.total.detach()) == pytest.approx(0.81 + penalty / 4, rel=1e-6)


def test_the_gradient_of_each_threshold_by_hand():
    """ε = .3, θ = [.7, .5, .25]: u = .6 lies within ε/2 of the first two, above the second and below the first.

    ∂L/∂θ_i = −(θ_i / ε) ∂L/∂z_i − (1 / ε) ∂L/∂L0, with ∂L/∂z_i = Σ_j 2 (x̂ − x)_j / d = 1.8 for x̂ = 1.2, and
    ∂L/∂L0 = 2 (2 / 1 − 1) = 2; in log θ each times θ_i. The third is far from its threshold.
    """
    theta = [0.7, 0.5, 0.25]
    dictionary = ones(theta, l0=1, sparsity_weight=1.0, bandwidth=0.3)
    dictionary.loss(Batch.of(X), State(step=1, steps=1)).total.backward()
    expected = [t * (-(t / 0.3) * 1.8 - (1 / 0.3) * 2) for t in theta[:2]] + [0.0]
    assert dictionary.log_threshold.grad.tolist() == pytest.approx(expected, rel=1e-5)


def test_it_begins_a_little_above_its_target():
    torch.manual_seed(0)
    dictionary = sk.JumpReLU(d_sae=64, l0=4).build(sk.Wiring("x"), {"x": 16})
    x = torch.randn(1000, 16) + 3
    dictionary.initialise(Batch.of(x), State())
    assert torch.allclose(dictionary.decoder_bias, x.mean(0), atol=1e-5)
    assert sk.metrics.l0(dictionary.encode(x)) == pytest.approx(1.5 * 4, rel=0.01)
    fixed = sk.JumpReLU(d_sae=64, l0=None, threshold=0.2).build(sk.Wiring("x"), {"x": 16})
    fixed.initialise(Batch.of(x), State())
    assert torch.allclose(fixed.threshold, torch.tensor(0.2))


@pytest.mark.parametrize("scale", [4.0, 3.7])
def test_the_threshold_grows_with_its_input(scale):
    """θ' = s θ, so log θ' = log θ + log s, of a transcoder by the scale of what it writes."""
    for wiring, scales in ((sk.Wiring("x"), {"x": scale}), (sk.Wiring("in", "out"), {"in": 11.0, "out": scale})):
        dictionary = sk.JumpReLU(d_sae=8, l0=2).build(wiring, dict.fromkeys(wiring.sites, 4))
        before = dictionary.log_threshold.detach().clone()
        dictionary.rescale(scales)
        assert torch.allclose(dictionary.log_threshold, before + math.log(scale), atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_it_comes_to_its_target_on_held_out_text(on_micro, scores, layer):
    run = on_micro(sk.JumpReLU(d_sae=256, l0=16), layer)
    variance, l0 = scores(run.dictionary)
    print(f"JumpReLU, block {layer}: L0 {l0:.2f}, explained variance {variance:.3f}")
    assert l0 == pytest.approx(16, rel=0.1) and variance > 0.7
    theta = run.dictionary.threshold
    assert theta.std() > 0.02 * theta.mean(), "they began equal, and have moved, each its own way"


def test_a_smaller_target_gives_fewer_latents_and_more_error(on_micro, scores):
    few, many = (scores(on_micro(sk.JumpReLU(d_sae=256, l0=l0)).dictionary) for l0 in (6, 16))
    assert few[1] == pytest.approx(6, rel=0.2) and few[0] < many[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"l0": 0}, "l0 must be between 0 and d_sae = 8, found 0"),
        ({"l0": 9}, "found 9"),
        ({"bandwidth": 0.0}, "bandwidth must be above 0, found 0"),
        ({"threshold": -1.0}, "threshold must be above 0, found -1"),
        ({"sparsity_weight": -1.0}, "sparsity_weight must be at least 0, found -1"),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sk.JumpReLU(d_sae=8, **({"l0": 4} | wrong))
