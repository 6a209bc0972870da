"""RowGradient: that it means the gradient of the plain loss, and who is given one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

import saekit as sk
from saekit.objectives import Batch, State, add_row_gradient, reconstruction_auxk, squared_error
from saekit.training.learners import make_learner
from saekit.training.settings import Settings

NAMES = ("encoder.directions", "encoder.bias", "decoder.directions", "decoder.bias")
SAME, THROUGH = sk.Wiring("x"), sk.Wiring("in", "out")


@pytest.fixture(autouse=True)
def fused_kernels(monkeypatch):
    """The kernels' way at these sizes too."""
    monkeypatch.setattr("saekit_kernels.encode.FEW", 0)


def problem(method, wiring=SAME):
    """A dictionary in float64 with biases, and a batch of 30."""
    generator = torch.Generator().manual_seed(0)
    widths = {"x": 9} if wiring is SAME else {"in": 7, "out": 9}
    dictionary = method.build(wiring, widths).double()
    with torch.no_grad():
        for p in dictionary.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    x = {site: torch.randn(30, width, generator=generator).double() for site, width in widths.items()}
    batch = Batch({site: x[site] for site in wiring.reads}, {site: x[site] for site in wiring.writes})
    return dictionary, batch


def plain_gradients(dictionary, batch, dead=None):
    """Of the loss written out in dense torch, from its definition."""
    d, x, target = dictionary, dictionary.join_reads(batch.reads), dictionary.join_writes(batch.writes)
    c = d.decoder_bias if d.wiring.same else 0.0
    u = (x - c) @ d.encoder_directions.T + d.encoder_bias
    kept = dictionary.encode(x).to_dense().detach() != 0
    residual = target - torch.where(kept, u, 0) @ d.decoder_directions - d.decoder_bias
    loss = residual.square().sum() / residual.numel()
    if dead is not None:
        latents = dead.nonzero()[:, 0]
        k_aux = min(4, len(latents))  # a power of two near 9 / 2
        top = u[:, latents].topk(k_aux)
        z = torch.zeros(len(x), len(latents)).double().scatter(1, top.indices, top.values.relu())
        missed = residual.detach() - z @ d.decoder_directions[latents]
        loss = loss + min(len(latents) / 4, 1) / 32 * missed.square().sum() / residual.numel()
    return dict(zip(NAMES, torch.autograd.grad(loss, parts(d), allow_unused=True), strict=True))


def parts(dictionary):
    found = dict(dictionary.named_parameters())
    return [found[name] for name in NAMES]


def given(dictionary, batch, dead=None):
    return dictionary.loss(batch, State(dead=dead, row_gradient=True)).row_gradient


def close(dictionary, expected) -> None:
    for name, p in zip(NAMES, parts(dictionary), strict=True):
        assert (p.grad - expected[name]).abs().max() < 1e-10 * (1 + expected[name].abs().max()), name
        assert expected[name].abs().max() > 1e-4, f"{name} has a gradient here"


def dead_latents(*latents):
    return torch.isin(torch.arange(20), torch.tensor(latents))


@pytest.mark.parametrize("wiring", [SAME, THROUGH], ids=["centred", "transcoder"])
@pytest.mark.parametrize("dead", [None, dead_latents(3), dead_latents(*range(11))], ids=["none", "one", "eleven"])
@pytest.mark.parametrize("method", [sk.TopK(d_sae=20, k=3), sk.BatchTopK(d_sae=20, k=2.5)], ids=str)
def test_it_is_the_gradient_of_the_plain_loss(method, wiring, dead):
    dictionary, batch = problem(method, wiring)
    add_row_gradient(given(dictionary, batch, dead), *parts(dictionary))
    close(dictionary, plain_gradients(dictionary, batch, dead))


def test_the_loss_itself_is_that_of_plain_torch():
    dictionary, batch = problem(sk.TopK(d_sae=20, k=3))
    dead = dead_latents(1, 5, 6, 7, 8)
    rows = dictionary.loss(batch, State(dead=dead, row_gradient=True))
    plain = dictionary.loss(batch, State(dead=dead))
    assert not rows.total.requires_grad and plain.total.requires_grad and plain.row_gradient is None
    assert float(rows.total) == pytest.approx(float(plain.total.detach()), rel=1e-12)
    assert torch.allclose(rows.error, plain.error, rtol=1e-12)


def test_it_is_added_to_a_gradient_that_is_there():
    dictionary, batch = problem(sk.TopK(d_sae=20, k=3))
    before = {}
    for name, p in zip(NAMES, parts(dictionary), strict=True):
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        before[name] = p.grad.clone()
    add_row_gradient(given(dictionary, batch), *parts(dictionary))
    expected = plain_gradients(dictionary, batch)
    close(dictionary, {name: before[name] + expected[name] for name in NAMES})


@pytest.mark.parametrize("dead", [None, dead_latents(*range(11))], ids=["plain", "auxk"])
def test_half_a_share_is_half_the_gradient(dead):
    """Of AuxK's dense rows too."""
    dictionary, batch = problem(sk.TopK(d_sae=20, k=3))
    add_row_gradient(given(dictionary, batch, dead), *parts(dictionary), share=0.5)
    close(dictionary, {name: g / 2 for name, g in plain_gradients(dictionary, batch, dead).items()})


@pytest.mark.parametrize("wiring", [SAME, THROUGH], ids=["centred", "transcoder"])
def test_a_frozen_decoder_gets_none(wiring):
    dictionary, batch = problem(sk.TopK(d_sae=20, k=3), wiring)
    expected = plain_gradients(dictionary, batch)
    dictionary.decoder.directions.requires_grad_(False)
    add_row_gradient(given(dictionary, batch), *parts(dictionary))
    assert dictionary.decoder.directions.grad is None
    dictionary.decoder.directions.grad = expected["decoder.directions"]
    close(dictionary, expected)


# -- who is given one --------------------------------------------------------------------------------------------------


class OwnEncode(sk.dictionaries.TopKDictionary):
    def encode(self, x):
        codes = super().encode(x)
        return replace(codes, values=2 * codes.values)


class OwnLoss(sk.dictionaries.TopKDictionary):
    def loss(self, batch, state):
        loss = squared_error(self, batch)
        return loss._replace(total=loss.total + self.encoder_bias.square().sum())


class OwnDecode(sk.dictionaries.TopKDictionary):
    def decode(self, codes, x=None):
        return 2 * super().decode(codes, x)


@dataclass(frozen=True)
class Other(sk.TopK):
    kind: type = OwnEncode

    def build(self, wiring, widths):
        return self.kind(self, wiring, widths)


@pytest.fixture
def taken(monkeypatch):
    """Whether a learner's step takes a row gradient."""
    seen = []
    right = add_row_gradient
    monkeypatch.setattr(
        "saekit.training.learners.gradient.add_row_gradient", lambda *a, **k: (seen.append(1), right(*a, **k))
    )

    def of(method, kernels="auto"):
        seen.clear()
        learner = make_learner(method, SAME, {"x": 9}, Settings(10, 64, kernels=kernels))
        x = torch.randn(64, 9, generator=torch.Generator().manual_seed(0))
        learner.update(Batch.of(x), {"x": 1.0}, 0, False)
        return bool(seen)

    return of


@pytest.mark.parametrize("method", [sk.TopK(d_sae=20, k=3), sk.BatchTopK(d_sae=20, k=3)], ids=str)
def test_top_k_and_batch_top_k_give_one_in_training_only(taken, method):
    assert taken(method)
    assert not taken(method, kernels="reference"), "plain torch where that is asked for"
    dictionary, batch = problem(method)
    assert dictionary.loss(batch, State()).row_gradient is None, "nobody asked for it"


@pytest.mark.parametrize("kind", [OwnEncode, OwnLoss, OwnDecode])
def test_a_subclass_with_its_own_encode_loss_or_decode_never_does(taken, kind):
    method = Other(d_sae=20, k=3, kind=kind)
    assert not taken(method)
    dictionary, batch = problem(method)
    loss = dictionary.loss(batch, State(row_gradient=True))
    assert loss.row_gradient is None and loss.total.requires_grad
    assert reconstruction_auxk(problem(Other(d_sae=20, k=3))[0], batch, State(row_gradient=True)).row_gradient is None
    patched, _ = problem(sk.TopK(d_sae=20, k=3))
    patched.encode = lambda x: sk.dictionaries.TopKDictionary.encode(patched, x)
    assert given(patched, batch) is None, "nor one whose encode was replaced on the object"


@pytest.mark.parametrize("method", [sk.ReLU(d_sae=20), sk.JumpReLU(d_sae=20, l0=3), sk.Gated(d_sae=20)], ids=str)
def test_methods_with_other_losses_do_not(taken, method):
    assert not taken(method)
