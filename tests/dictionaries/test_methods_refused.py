"""One clear sentence for what is wrong with a method of one's own, its dictionary, its loss and its rescale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from saekit_kernels import SparseCodes
from torch import Tensor, nn

import saekit as sk
from saekit.dictionaries import Dictionary, LinearDecoder, LinearEncoder, Method, NestedMethod, Part
from saekit.objectives import Batch, State, squared_error

X = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))


def train(method: Any, x: Any = X, **settings: Any) -> sk.Run:
    return sk.train(x, None, method, **({"tokens": 512, "batch_size": 64, "callback": lambda _: None} | settings))


def own(**members: Any) -> type[Method]:
    return type("Own", (sk.TopK,), {"__module__": __name__, **members})


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"needs": frozenset({"gradient"})},
            r"Own\.needs cannot name 'gradient'; the closest is 'gradients' \(of rows, gradients, labels, models\)",
        ),
        ({"learner": "grow"}, r"Own\.learner cannot be 'grow'; the closest is 'growing' \(of gradient, growing, fit\)"),
    ],
)
def test_a_need_or_learner_that_nobody_meets(members, message):
    known = dict(Method.known)
    with pytest.raises(TypeError, match=message):
        own(**members)
    assert Method.known == known, "it was not registered"


class Plain(Dictionary):
    def encode(self, x: Any) -> SparseCodes:
        u = self.join_reads(x) @ self.encoder_directions.T + self.encoder_bias
        return SparseCodes.from_dense(u.relu())


@dataclass(frozen=True)
class Built(Method):
    """Builds a dictionary of a given class, with linear parts."""

    kind: type = Plain

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        encoder = LinearEncoder.random(self.d_sae, [widths[site] for site in wiring.reads])
        return self.kind(self, wiring, widths, encoder, LinearDecoder.random(self.d_sae, [widths["x"]]))


def test_what_is_abstract_must_be_given():
    class NoEncode(Dictionary): ...

    @dataclass(frozen=True)
    class NoBuild(Method): ...

    class NoRescale(Part): ...

    for make, missing in (
        (lambda: train(Built(d_sae=8, kind=NoEncode)), "'?encode"),
        (lambda: NoBuild(d_sae=8), "'?build"),
        (NoRescale, "'?rescale"),
    ):
        with pytest.raises(TypeError, match=rf"Can't instantiate abstract class .*method {missing}"):
            make()
    assert "NoBuild" not in [row["method"] for row in sk.methods().rows]
    with pytest.raises(TypeError, match=r"Built\.build gave a Linear, not a Dictionary"):
        train(Built(d_sae=8, kind=lambda *_: nn.Linear(2, 2)))  # type: ignore[arg-type]


def losing(change: Any) -> Built:
    """A method whose loss is changed before it is given."""

    class Losing(Plain):
        def loss(self, batch: Batch, state: State) -> Any:
            return change(squared_error(self, batch))

    return Built(d_sae=8, kind=Losing)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda loss: loss.total, TypeError, r"the loss of Losing is a saekit\.objectives\.Loss.*found Tensor"),
        (lambda loss: None, TypeError, "found NoneType"),
        (lambda loss: loss._replace(total=0.5), ValueError, "a total that is a scalar tensor, found float"),
        (lambda loss: loss._replace(total=loss.error), ValueError, r"a total that is a scalar tensor, found \[64\]"),
        (lambda loss: loss._replace(error=loss.error.mean()), ValueError, r"each of the 64 tokens, \[64\], found \[\]"),
        (lambda loss: loss._replace(error=loss.error[:3]), ValueError, r"\[64\], found \[3\]"),
        (lambda loss: loss._replace(codes=torch.zeros(64, 8)), ValueError, "SparseCodes of 8 latents, found Tensor"),
        (lambda loss: loss._replace(codes=replace(loss.codes, d_sae=9)), ValueError, "of 8 latents, found 9"),
        (lambda loss: loss._replace(total=loss.total.detach()), ValueError, "the loss of Losing has no gradient"),
        (lambda loss: loss._replace(total=loss.total / 0), ValueError, "the loss became inf at step 0: try a smaller"),
        (lambda loss: loss._replace(total=loss.total * torch.nan), ValueError, "the loss became nan at step 0"),
    ],
)
def test_a_loss_that_is_none(change, error, message):
    with pytest.raises(error, match=message):
        train(losing(change))


class Shifted(Plain):
    """A bias of its own, which its dictionary forgets to rescale."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.shift = nn.Parameter(torch.ones(self.d_sae))

    def encode(self, x: Any) -> SparseCodes:
        u = self.join_reads(x) @ self.encoder_directions.T + self.shift
        return SparseCodes.from_dense(u.relu())


class Right(Shifted):
    @torch.no_grad()
    def rescale(self, scales: Mapping[str, float]) -> None:
        super().rescale(scales)
        self.shift.mul_(self.codes_scale(scales))


def test_a_rescale_that_forgets_a_parameter_is_caught_and_named():
    with pytest.raises(ValueError, match=r"Shifted\.rescale does not give back what was trained: at 'x' .*changed by"):
        train(Built(d_sae=16, kind=Shifted), 30 * X)
    run = train(Built(d_sae=16, kind=Right), 30 * X, tokens=6400)
    assert run.finished and sk.metrics.explained_variance(30 * X, run.dictionary(30 * X)) > 0


class Tied(sk.dictionaries.TopKDictionary):
    """Encoder and decoder are one parameter."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.encoder.directions = self.decoder.directions


@dataclass(frozen=True)
class Tying(sk.TopK):
    def build(self, wiring: sk.Wiring, widths: Any) -> Tied:
        return Tied(self, wiring, widths)


def test_tied_weights_are_saved_or_refused_before_the_first_step(tmp_path):
    """At one site both halves grow alike; at several, or from one to another, one parameter cannot."""
    try:
        run = train(Tying(d_sae=16, k=3), 30 * X, tokens=6400, out=tmp_path)
        loaded = sk.load_dictionary(tmp_path)
        assert torch.equal(loaded(30 * X), run.dictionary(30 * X))
        assert loaded.encoder_directions is loaded.decoder_directions
        steps: list[Any] = []
        for site in (["a", "b"], sk.Wiring("a", "b")):
            with pytest.raises(
                ValueError, match=r"Tied\.rescale .*Encoder and decoder share a parameter, which cannot"
            ):
                sk.train({"a": X, "b": 9 * X}, site, Tying(d_sae=16, k=3), tokens=6400, callback=steps.append)
        assert not steps
    finally:
        sk.Method.known.pop("Tying")


def test_parts_by_their_own_scales():
    """Sites read 2 and 10, written 3 and 7: encoder columns / scale read, decoder columns · scale written."""

    def twice(site: str) -> Tensor:
        return torch.randn(5, 4, generator=torch.Generator().manual_seed(len(site)))

    wiring, widths = sk.Wiring(["a", "bb"], ["ccc", "dddd"]), dict.fromkeys(["a", "bb", "ccc", "dddd"], 4)
    sae = sk.TopK(d_sae=9, k=3, skip=True).build(wiring, widths)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in sae.parameters():
            p.copy_(torch.randn(p.shape))
    scales = {"a": 2.0, "bb": 10.0, "ccc": 3.0, "dddd": 7.0}
    x = {site: twice(site) for site in ("a", "bb")}
    x_hat, z = sae(x), sae.encode_dense(x)
    sae.rescale(scales)
    large = {site: h * scales[site] for site, h in x.items()}
    codes = ((3**2 + 7**2) / 2) ** 0.5
    assert torch.allclose(sae.encode_dense(large), codes * z, rtol=1e-4, atol=1e-4)
    for site, h in sae(large).items():
        assert torch.allclose(h, scales[site] * x_hat[site], rtol=1e-4, atol=1e-3), site


def test_nested_method_alone_is_abstract():
    with pytest.raises(TypeError, match="abstract class NestedMethod"):
        NestedMethod(sk.TopK(d_sae=8, k=2))  # type: ignore[abstract]
