"""Edit: h' − h with numbers worked out by hand, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import numpy
import pytest
import torch

from saekit.dictionaries import TopK, Wiring
from saekit.dictionaries.latent_number import NoSuchLatent
from saekit.interventions import Edit, modes

SITE = "blocks.0.hook_resid_post"


@pytest.fixture
def sae() -> Any:
    """d = 2, three latents, k = 2: u = (h_0, h_1, h_0 + h_1 − 4) − b_dec's share, b_dec = (1, 1)."""
    sae: Any = TopK(d_sae=3, k=2).build(Wiring(SITE), {SITE: 2}).requires_grad_(False)
    sae.encoder_directions.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    sae.encoder_bias.copy_(torch.tensor([0.0, 0.0, -4.0]))
    sae.decoder_directions.copy_(torch.tensor([[10.0, 0.0], [0.0, 100.0], [1000.0, 1000.0]]))
    sae.decoder_bias.fill_(1.0)
    sae.latent_max.copy_(torch.tensor([2.0, 3.0, 0.5]))
    return sae


H = torch.tensor([[[3.0, 2.0], [4.0, 0.0], [0.0, 0.0]]])
"""h − b = (2, 1), (3, −1), (−1, −1), so u = (2, 1, −1), (3, −1, −2), (−1, −1, −6) and z = (2, 1, 0), (3, 0, 0), 0."""


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"latent": 0}, [[20, 0], [20, 0], [20, 0]]),
        ({"latent": 2, "strength": -4.0}, [[-2000, -2000], [-2000, -2000], [-2000, -2000]]),
        # clamp: (s · latent_max_i − z_i) d_i
        ({"latent": 0, "mode": "clamp"}, [[0, 0], [-10, 0], [20, 0]]),
        ({"latent": [1, 0], "mode": "clamp", "strength": 0.5}, [[-10, 50], [-20, 150], [10, 150]]),
        ({"latent": 2, "mode": "clamp", "strength": -2.0}, [[-1000, -1000], [-1000, -1000], [-1000, -1000]]),
        # minimum: max(z_i, s · latent_max_i) − z_i
        ({"latent": 0, "mode": "minimum"}, [[0, 0], [0, 0], [20, 0]]),
        ({"latent": [0, 1], "mode": "minimum", "strength": 2.0}, [[20, 500], [10, 600], [40, 600]]),
        ({"latent": 0, "mode": "minimum", "strength": -1.0}, [[0, 0], [0, 0], [0, 0]]),
        # orthogonal: (s − 1) P h, P onto the span of d_0 ∥ (1, 0), of d_2 ∥ (1, 1), of both (everything)
        ({"latent": 0, "mode": "orthogonal"}, [[-3, 0], [-4, 0], [0, 0]]),
        ({"latent": 2, "mode": "orthogonal", "strength": 3.0}, [[5, 5], [4, 4], [0, 0]]),
        ({"latent": [0, 2], "mode": "orthogonal", "strength": -1.0}, [[-6, -4], [-8, 0], [0, 0]]),
        # project: caps of s · 20 along (1, 0), s · 300 along (0, 1), s · 0.5 · 1000 √2 along (1, 1) / √2
        ({"latent": [0, 1], "mode": "project"}, [[0, 0], [0, 0], [0, 0]]),
        ({"latent": 0, "mode": "project", "strength": 0.1}, [[-1, 0], [-2, 0], [0, 0]]),
        ({"latent": [1, 0], "mode": "project", "strength": 0.0}, [[-3, -2], [-4, 0], [0, 0]]),
        ({"latent": 2, "mode": "project", "strength": 0.003}, [[-1, -1], [-0.5, -0.5], [0, 0]]),
        ({"latent": 0, "mode": "project", "strength": -0.1}, [[-5, 0], [-6, 0], [-2, 0]]),
        ({"latent": 0, "mode": "ablate"}, [[-20, 0], [-30, 0], [0, 0]]),
        ({"latent": 1, "mode": "ablate"}, [[0, -100], [0, 0], [0, 0]]),
        ({"latent": [1, 0], "mode": "ablate"}, [[-20, -100], [-30, 0], [0, 0]]),
        ({"latent": [2, 0], "strength": 0.5}, [[260, 250], [260, 250], [260, 250]]),
        ({"latent": []}, [[0, 0], [0, 0], [0, 0]]),
    ],
)
def test_by_hand(sae: Any, keywords: dict[str, Any], expected: list[list[float]]) -> None:
    """add: strength · latent_max_i · d_i; ablate: −z_i d_i; the error h − decode(z), large here, does not matter."""
    codes = sae.encode(H)
    assert codes.to_dense().tolist() == [[[2, 1, 0], [3, 0, 0], [0, 0, 0]]]
    assert (H - sae(H)).abs().max() > 10
    change = Edit(sae, **keywords).change(H)
    assert torch.allclose(change, torch.tensor([expected], dtype=torch.float32), atol=1e-3)
    sae.decoder_bias.add_(7.0)
    sae.encoder_bias.add_(sae.encoder_directions.sum(1) * 7)
    assert torch.allclose(Edit(sae, **keywords).change(H), change, atol=1e-3)  # a bias that cancels does not matter


def test_a_latent_may_be_any_integer(sae: Any) -> None:
    """A row of a frame gives NumPy's integers, a top-k torch's."""
    expected = Edit(sae, latent=[0, 2]).change(H)
    several: list[Any] = [numpy.array([0, 2]), torch.tensor([0, 2]), (numpy.int64(0), torch.tensor(2)), range(0, 3, 2)]
    for latents in several:
        assert torch.equal(Edit(sae, latent=latents).change(H), expected)
    single: list[Any] = [numpy.int64(1), numpy.int32(1), torch.tensor(1)]
    for latent in single:
        assert Edit(sae, latent=latent).latents == [1]
        assert Edit(sae, latent=latent, tokens=latent).positions == [1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_activations_of_another_dtype(sae: Any, dtype: torch.dtype) -> None:
    change = Edit(sae, latent=0).change(H.to(dtype))
    assert change.dtype == dtype and torch.equal(change.float(), Edit(sae, latent=0).change(H))
    vector = Edit(torch.tensor([1.0, 2.0]), strength=2.0, site=SITE).change(H.to(dtype))
    assert vector.dtype == dtype and vector.tolist() == [[[2, 4]] * 3]


def test_a_vector() -> None:
    change = Edit(torch.tensor([1.0, -2.0]), strength=-1.5, site=SITE).change(H)
    assert change.tolist() == [[[-1.5, 3.0]] * 3]


@pytest.mark.parametrize(
    ("source", "mode", "strength", "expected"),
    [
        ([[1.0, -2.0], [3.0, 0.0]], "add", 0.5, [[2, -1]] * 3),
        ([[0.0, 5.0]], "orthogonal", None, [[0, -2], [0, 0], [0, 0]]),
        ([[0.0, 5.0], [0.0, -1.0]], "orthogonal", 2.0, [[0, 2], [0, 0], [0, 0]]),  # one direction named twice
        ([[0.0, 0.0]], "orthogonal", None, [[0, 0]] * 3),
        ([[2.0, 0.0]], "project", None, [[-1, 0], [-2, 0], [0, 0]]),
        ([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]], "project", 0.5, [[-2, -1.5], [-3, 0], [0, 0]]),
        # one after the other: (3, 2) is capped at 1 along (1, 0) first, which leaves (1, 2), and 3/√2 along (1, 1)/√2
        ([[1.0, 0.0], [1.0, 1.0]], "project", 1.0, [[-2.5, -0.5], [-3, 0], [0, 0]]),
    ],
)
def test_several_vectors(source: Any, mode: str, strength: Any, expected: list[list[float]]) -> None:
    for given in (torch.tensor(source), [torch.tensor(v) for v in source]):
        change = Edit(given, mode=mode, strength=strength, site=SITE).change(H)
        assert torch.allclose(change, torch.tensor([expected], dtype=torch.float32), atol=1e-5)


def test_several_dictionaries(sae: Any) -> None:
    """In turn, each on what the former left; of "orthogonal" the span of all at once."""
    twin = copy.deepcopy(sae)
    twin.decoder_directions.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]))
    one, two = Edit(sae, 1, "ablate").change(H), Edit(twin, [0, 1], "ablate")
    expected = one + two.change(H + one)
    assert torch.equal(Edit([sae, twin], [1, [0, 1]], "ablate").change(H), expected)
    assert torch.allclose(Edit([sae, twin], [[0], [0]], "orthogonal").change(H), -H, atol=1e-5)
    for latent in (0, [0], [0, 1, 2]):
        with pytest.raises(
            ValueError, match=r"2 dictionaries need a sequence of 2, the latent or latents of each, found"
        ):
            Edit([sae, twin], latent)


def test_signed_codes() -> None:
    """Strengths are in multiples of max |z|; clamp and minimum are as written."""
    from saekit_kernels import SparseCodes

    codes = SparseCodes.from_dense(torch.tensor([[-2.0, 0.5], [1.0, 0.0]]))
    unit = torch.tensor([2.0, 4.0])
    for mode, strength, expected in (
        ("minimum", -0.5, [[-1.0, 0.5], [1.0, 0.0]]),
        ("clamp", -1.0, [[-2.0, -4.0], [-2.0, -4.0]]),
        ("add", -1.0, [[-4.0, -3.5], [-1.0, -4.0]]),
    ):
        assert modes.edited_codes(codes, [0, 1], mode, strength, unit).to_dense().tolist() == expected


def test_where(sae: Any) -> None:
    assert Edit(sae, latent=0).where == SITE and Edit(sae, latent=0).read is None
    assert Edit(sae, latent=0, site="blocks.1.hook_resid_post").where == "blocks.1.hook_resid_post"
    transcoder: Any = TopK(d_sae=3, k=2).build(Wiring("a", "b"), {"a": 2, "b": 4})
    edit = Edit(transcoder, latent=0, mode="ablate")
    assert (edit.read, edit.where) == ("a", "b")
    x = torch.randn(1, 3, 2)
    expected = -transcoder.encode_dense(x)[..., :1] * transcoder.decoder_directions[0]
    assert torch.allclose(edit.change(torch.zeros(1, 3, 4), x), expected, atol=1e-6)


def test_strength_needs_latent_max(sae: Any) -> None:
    sae.latent_max[1] = torch.nan
    with pytest.raises(ValueError, match=r"multiples of latent_max.*sk\.measure_latent_max\(model, sae, corpus\)"):
        Edit(sae, latent=[0, 1])
    Edit(sae, latent=0)
    assert Edit(sae, latent=1, mode="ablate").change(H).isfinite().all()  # needs no unit


@pytest.mark.parametrize(("mode", "needs"), [("clamp", 1), ("minimum", 1), ("project", 1), ("orthogonal", 0)])
def test_which_modes_need_latent_max(sae: Any, mode: str, needs: int) -> None:
    sae.latent_max[1] = torch.nan
    if needs:
        with pytest.raises(ValueError, match=r"multiples of latent_max.*sk\.measure_latent_max\(model, sae, corpus\)"):
            Edit(sae, latent=[0, 1], mode=mode)
    assert Edit(sae, latent=0 if needs else 1, mode=mode).change(H).isfinite().all()


def test_the_default_strength(sae: Any) -> None:
    for mode in ("add", "clamp", "minimum", "project"):
        assert Edit(sae, latent=0, mode=mode).strength == 1.0
        assert torch.equal(Edit(sae, 0, mode).change(H), Edit(sae, 0, mode, 1.0).change(H))
    assert Edit(sae, latent=0, mode="orthogonal").strength == 0.0
    assert Edit(sae, latent=0, mode="orthogonal", strength=1.0).change(H).abs().max() == 0


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"latent": 0, "mode": "remove"}, "mode cannot be 'remove'; the closest is '.*' .of add, ablate, clamp, "),
        ({"latent": 0, "tokens": "last"}, "tokens is 'all', 'prompt', 'generated' or positions, found 'last'"),
        ({"latent": 0, "tokens": 1.5}, "a position is an integer .* found 1.5"),
        ({"latent": 0, "tokens": [1, 2.5]}, "a position is an integer"),
        ({"latent": 3}, "latent 3 is not in 0 … 2"),
        ({"latent": [0, -1]}, "latent -1 is not in 0 … 2"),
        ({"latent": [0, 2, 0]}, "latent 0 is named twice"),
        ({"latent": 0.5}, "a latent is an integer .* found 0.5"),
        ({}, "needs a latent"),
    ],
)
def test_refusals(sae: Any, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Edit(sae, **keywords)


def test_a_latent_that_is_not_there_is_said_as_everywhere(sae: Any) -> None:
    with pytest.raises(NoSuchLatent, match=r"^latent 3 is not in 0 … 2; the closest is 2\.$"):
        Edit(sae, latent=3)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"site": SITE, "latent": 1}, "a vector has no latent"),
        ({"site": SITE, "mode": "ablate"}, r"mode 'ablate' is of latents; a vector can be added .* or taken away"),
        ({"site": SITE, "mode": "clamp"}, r"mode 'clamp' is of latents"),
        (
            {"site": SITE, "source": torch.zeros(1, 1, 2)},
            r"a vector is \[d\], several are \[n, d\] .* found \[\(1, 1, 2\)",
        ),
        ({"site": SITE, "source": [torch.zeros(2), torch.zeros(3)]}, r"found \[\(2,\), \(3,\)\]"),
        ({"site": SITE, "source": [torch.zeros(2), "me"]}, r"several vectors or a vector .* found .*str"),
        ({"site": SITE, "source": []}, "found nothing"),
        ({}, "an edit by a vector needs a site"),
        ({"source": "me", "site": SITE}, r"a vector \(a tensor or array\), found .*str"),
    ],
)
def test_refusals_of_vectors(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Edit(**({"source": torch.zeros(2)} | keywords))


def test_an_edit_of_latents_needs_codes(sae: Any) -> None:
    part = Edit(sae, latent=0, mode="ablate").parts[0]
    with pytest.raises(ValueError, match="mode 'ablate' changes the codes of what its dictionary reads, found none"):
        part.new(part.writes[0], H, None, {})
