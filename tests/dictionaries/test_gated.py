"""Gated: by hand, the three terms of its loss and where their gradients go, and how near its target it comes."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.objectives import Batch, State

X = torch.tensor([[0.3, 0.3]]).double()


def by_hand(**settings):
    """All of encoder and decoder ones; b_gate = [−2, 0, 1], r_mag = [1, 2, 3], b_mag = 1."""
    dictionary = sk.Gated(d_sae=3, **settings).build(sk.Wiring("x"), {"x": 2}).double()
    with torch.no_grad():
        dictionary.encoder.directions.fill_(1)
        dictionary.decoder.directions.fill_(1)
        dictionary.encoder.bias.copy_(torch.tensor([-2.0, 0, 1]))
        dictionary.log_magnitude.copy_(torch.tensor([1.0, 2, 3]))
        dictionary.magnitude_bias.fill_(1)
    return dictionary


def test_by_hand():
    """W x = .6: magnitudes e^r · .6 + 1 = [2.6310, 5.4334, 13.0513]; π = [−1.4, .6, 1.6] shuts the first."""
    dictionary = by_hand()
    magnitudes = dictionary.log_magnitude.exp() * 0.6 + 1
    assert magnitudes.tolist() == pytest.approx([2.6310, 5.4334, 13.0513], abs=1e-4)
    assert dictionary.encode_dense(X)[0].tolist() == pytest.approx([0, 5.4334, 13.0513], abs=1e-4)
    assert torch.equal(dictionary.encode(X).to_dense(), dictionary.encode_dense(X))
    assert dictionary(X)[0].tolist() == pytest.approx([18.4848] * 2, abs=1e-4)


def test_magnitudes_below_zero_and_gates_at_zero_are_shut():
    dictionary = by_hand()
    with torch.no_grad():
        dictionary.magnitude_bias[2] = -13
        dictionary.encoder.bias[1] = -0.6
    assert dictionary.encode_dense(torch.tensor([[0.25, 0.25]]).double())[0].tolist() == [0, 0, 0]
    assert dictionary.encode(X * 0).l0.tolist() == [0]


def test_the_loss_by_hand():
    """‖x − x̂‖² / d + λ Σ ReLU(π) / √d + ‖x − x̂'‖² / d, x̂' = Σ ReLU(π) = 2.2 a dimension; λ grows over a tenth."""
    dictionary = by_hand(sparsity_weight=0.5)
    x_hat = float(dictionary(X)[0, 0].detach())
    loss = dictionary.loss(Batch.of(X), State(step=1, steps=1))
    expected = (x_hat - 0.3) ** 2 + 0.5 * 2.2 / 2**0.5 + (2.2 - 0.3) ** 2
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-6)
    assert loss.error.tolist() == pytest.approx([2 * (x_hat - 0.3) ** 2], rel=1e-6)
    early = dictionary.loss(Batch.of(X), State(step=1, steps=20))
    assert float((loss.total - early.total).detach()) == pytest.approx(0.5 * 0.5 * 2.2 / 2**0.5, rel=1e-6)


def test_the_gates_error_moves_the_gate_and_not_the_decoder():
    """Compared with autograd of the error alone: the decoder's rows and the magnitudes get their gradient from it, and
    the gate's bias, which a step passes none to, gets its own from penalty and gate error."""
    dictionary = by_hand(sparsity_weight=0.5)
    names = ("decoder.directions", "log_magnitude", "magnitude_bias", "encoder.bias")
    learned = [dict(dictionary.named_parameters())[name] for name in names]
    total = dictionary.loss(Batch.of(X), State(step=1, steps=1)).total
    found = dict(zip(names, torch.autograd.grad(total, learned), strict=True))
    error = (X - dictionary(X)).square().sum() / 2
    expected = dict(zip(names, torch.autograd.grad(error, learned, allow_unused=True), strict=True))
    for name in names[:3]:
        assert torch.allclose(found[name], expected[name], rtol=1e-10), name
        assert expected[name].abs().max() > 0.1, name
    # ∂/∂b_gate_i = 1[π > 0] (λ / √d + Σ_j 2 (x̂' − x)_j / d)
    assert found["encoder.bias"].tolist() == pytest.approx([0] + [0.5 / 2**0.5 + 2 * 1.9] * 2, rel=1e-6)


def test_of_a_skip_transcoder_the_gate_reconstructs_what_the_skip_leaves():
    """Target = W_skip x + what one latent writes: with both paths right no error is left for the gate."""
    dictionary = sk.Gated(d_sae=1, sparsity_weight=0.0, skip=True).build(sk.Wiring("a", "b"), {"a": 2, "b": 2}).double()
    skip = torch.tensor([[1.0, 2], [3, 4]]).double()
    with torch.no_grad():
        dictionary.encoder.directions.copy_(torch.tensor([[1.0, 0]]))
        dictionary.decoder.directions.copy_(torch.tensor([[0.6, 0.8]]))
        dictionary.decoder.skip.copy_(skip)
    x = torch.tensor([[2.0, 1], [5, -1]]).double()
    batch = Batch({"a": x}, {"b": x @ skip.T + x[:, :1] * torch.tensor([0.6, 0.8]).double()})
    loss = dictionary.loss(batch, State(step=1, steps=1))
    assert loss.error.abs().max() < 1e-20 and float(loss.total.detach()) < 1e-20


def test_with_a_target_the_weight_follows_l0():
    """λ ← λ exp(.02 · clamp(L0 / l0 − 1, −1, 1)); without one it stays."""
    dictionary, state = by_hand(l0=1, sparsity_weight=0.5), State()
    for expected in (0.5 * torch.e**0.02, 0.5 * torch.e**0.04):
        dictionary.after_step(Batch.of(X), dictionary.loss(Batch.of(X), state), state)  # L0 = 2
        assert float(state.memory["weight"]) == pytest.approx(expected, rel=1e-6)
    few = by_hand(l0=2.5)
    few.after_step(Batch.of(X), few.loss(Batch.of(X), state := State()), state)
    assert float(state.memory["weight"]) == pytest.approx(0.15 * torch.e ** (0.02 * (2 / 2.5 - 1)), rel=1e-6)
    free = by_hand(sparsity_weight=0.5)
    free.after_step(Batch.of(X), free.loss(Batch.of(X), state := State()), state)
    assert float(state.memory["weight"]) == 0.5


@pytest.mark.parametrize("scale", [4.0, 3.7])
def test_rescaled_by_hand(scale):
    """Both biases grow with the input; r, a factor, does not; of a transcoder by the scale of what it writes."""
    dictionary = by_hand()
    dictionary.rescale({"x": scale})
    assert dictionary.log_magnitude.tolist() == [1, 2, 3]
    assert dictionary.magnitude_bias.tolist() == pytest.approx([scale] * 3)
    assert dictionary.encoder.bias.tolist() == pytest.approx([-2 * scale, 0, scale])
    assert dictionary.encode_dense(scale * X)[0].tolist() == pytest.approx(
        [0, 5.4334 * scale, 13.0513 * scale], abs=1e-3
    )


def test_it_nears_its_target_on_held_out_text(on_micro, scores):
    run = on_micro(sk.Gated(d_sae=256, l0=16))
    variance, l0 = scores(run.dictionary)
    print(f"Gated, block 1: L0 {l0:.2f}, explained variance {variance:.3f}")
    assert l0 == pytest.approx(16, rel=0.25) and variance > 0.5
    assert run.dictionary.log_magnitude.abs().max() > 0.05, "magnitudes are learned apart from gates"


@pytest.mark.parametrize(
    ("wrong", "message"), [({"l0": 9}, "l0 must be between 0 and d_sae = 8, found 9"), ({"sparsity_weight": -1}, "-1")]
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sk.Gated(d_sae=8, **wrong)
