"""A TopK whose encode has a parameter of its own is trained as it says, and not as the kernels know TopK."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

import saekit as sk
from saekit.dictionaries import Method, TopKDictionary
from saekit.objectives import Batch, State
from saekit.training.learners import make_learner
from saekit.training.settings import Settings


class GainedDictionary(TopKDictionary):
    """z = gain · ReLU(top-k of u)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def encode(self, x: Any) -> Any:
        codes = super().encode(x)
        return replace(codes, values=self.gain * codes.values)


@pytest.fixture
def gained() -> Any:
    @dataclass(frozen=True)
    class Gained(sk.TopK):
        def build(self, wiring: Any, widths: Any) -> GainedDictionary:
            return GainedDictionary(self, wiring, widths)

    yield Gained(d_sae=48, k=3)
    Method.known.pop("Gained")


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(4000, 12, generator=torch.Generator().manual_seed(0))


def test_it_trains_as_plain_torch_does(gained, x, monkeypatch):
    """Large enough for the kernels' own way: the same weights to rounding, and the gain has moved."""
    monkeypatch.setattr("saekit_kernels.encode.FEW", 0)
    train = functools.partial(sk.train, x, None, gained, tokens=12_800, batch_size=256, dtype=torch.float64)
    fast, plain = (train(kernels=kernels, callback=lambda _: None).dictionary for kernels in ("auto", "reference"))
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], tensor, rtol=1e-6, atol=1e-8, msg=name)
    assert abs(float(plain.gain) - 0.5) > 0.02
    same = sk.train(x, None, sk.TopK(d_sae=48, k=3), tokens=12_800, batch_size=256, callback=lambda _: None).dictionary
    assert not torch.allclose(same.encoder_directions.double(), plain.encoder_directions, atol=1e-2)


def test_its_parameter_has_the_gradient_of_its_loss(gained, x):
    """∂L/∂gain = −2/(n d) Σ (x − x̂) · Σ_i z_i d_i / gain, by hand."""
    learner = make_learner(gained, sk.Wiring("x"), {"x": 12}, Settings(10, 256, dtype=torch.float64))
    sae, seen = learner.dictionary, []
    sae.gain.register_hook(lambda g: seen.append(float(g)))
    with torch.no_grad():
        codes = sae.encode(x[:256].double())
        made = codes.to_dense() @ sae.decoder_directions
        expected = float(-2 * ((x[:256].double() - made) * made / 0.5).sum() / (256 * 12))
    learner.update(Batch.of(x[:256].double()), {"x": 1.0}, 0, False)
    assert seen == pytest.approx([expected], rel=1e-9) and abs(expected) > 0.1
    assert sae.loss(Batch.of(x[:9].double()), State(row_gradient=True)).row_gradient is None
