"""The Dictionary contract: where it stands, what it does, and TopK's equation with numbers worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from saekit_kernels import SparseCodes

from saekit.dictionaries import Provenance, TopK, Wiring, check_model


def build(reads: dict[str, int], writes: dict[str, int] | None = None, d_sae: int = 12, k: int = 3) -> Any:
    """A random TopK dictionary with non-zero biases."""
    torch.manual_seed(0)
    wiring = Wiring(list(reads), writes and list(writes))
    sae = TopK(d_sae=d_sae, k=k).build(wiring, reads | (writes or {}))
    with torch.no_grad():
        for parameter in sae.parameters():
            if parameter.ndim == 1:
                parameter.copy_(0.3 * torch.randn(parameter.shape))
    return sae.requires_grad_(False)


@pytest.fixture
def by_hand() -> Any:
    """d = 2, three latents, k = 2: W_enc, b_enc, W_dec, b_dec small enough to compute with a pencil."""
    sae: Any = TopK(d_sae=3, k=2).build(Wiring("x"), {"x": 2})
    with torch.no_grad():
        sae.encoder_directions.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]]))
        sae.encoder_bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
        sae.decoder_directions.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]]))
        sae.decoder_bias.copy_(torch.tensor([1.0, -1.0]))
    return sae


# -- where it stands ---------------------------------------------------------------------------------------------------


def test_one_site() -> None:
    sae = build({"a": 5})
    assert (sae.reads, sae.writes, sae.site, sae.d_in, sae.d_out, sae.d_sae) == (("a",), ("a",), "a", 5, 5, 12)
    assert sae.encoder_directions.shape == (12, 5) and sae.decoder_directions.shape == (12, 5)
    assert sae.latent_max.shape == (12,) and bool(sae.latent_max.isnan().all())
    assert torch.allclose(
        TopK(d_sae=12, k=3).build(Wiring("a"), {"a": 5}).decoder_directions.norm(dim=1), torch.ones(12)
    )


def test_reads_one_site_and_writes_another() -> None:
    sae = build({"a": 5}, {"b": 4})
    assert (sae.reads, sae.writes, sae.d_in, sae.d_out) == (("a",), ("b",), 5, 4)
    assert sae.encoder_directions.shape == (12, 5) and sae.decoder_directions.shape == (12, 4)
    with pytest.raises(ValueError, match="reads 'a' and writes b: no single site"):
        _ = sae.site


def test_shortcuts_need_a_single_site() -> None:
    sae = build({"a": 5, "b": 4}, {"c": 3, "d": 2})
    assert sae.reads == ("a", "b") and sae.writes == ("c", "d")
    for name in ("d_in", "site"):
        with pytest.raises(ValueError, match=f"{name} is for dictionaries of a single site; this one has a, b"):
            getattr(sae, name)
    with pytest.raises(ValueError, match=r"d_out is for .* this one has c, d"):
        _ = sae.d_out


# -- what it does ------------------------------------------------------------------------------------------------------


def test_top_k_by_hand(by_hand: Any) -> None:
    """u = W_enc (x − b_dec) + b_enc; z = ReLU of the two largest; x̂ = Σ z_i d_i + b_dec.

    x = (2, 1): x − b = (1, 2), u = (1.5, 3, 1),         z = (1.5, 3, 0),  x̂ = (2.5, 2).
    x = (-3, -1): x − b = (-4, 0), u = (-3.5, -1, 4),  z = (0, 0, 4),    x̂ = (13, 15): -1 is kept, and its ReLU is 0.
    """
    x = torch.tensor([[2.0, 1.0], [-3.0, -1.0]])
    codes = by_hand.encode(x)
    assert codes.k == 2 and codes.shape == (2,)
    assert codes.to_dense().tolist() == [[1.5, 3.0, 0.0], [0.0, 0.0, 4.0]]
    assert codes.l0.tolist() == [2, 1]
    assert by_hand.decode(codes).tolist() == [[2.5, 2.0], [13.0, 15.0]]
    assert torch.equal(by_hand(x), torch.tensor([[2.5, 2.0], [13.0, 15.0]]))


def test_a_transcoder_does_not_subtract_the_bias_of_what_it_writes() -> None:
    sae = build({"a": 2}, {"b": 2}, d_sae=2, k=2)
    sae.encoder_directions.copy_(torch.eye(2))
    sae.encoder_bias.zero_()
    sae.decoder_bias.fill_(7.0)
    assert sae.encode_dense(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 3, 5)])
def test_shapes_and_dense_agree(shape: tuple[int, ...]) -> None:
    sae, x = build({"a": 5}), torch.randn(shape)
    codes = sae.encode(x)
    assert isinstance(codes, SparseCodes) and codes.shape == shape[:-1] and codes.d_sae == 12
    dense = sae.encode_dense(x)
    assert dense.shape == (*shape[:-1], 12) and torch.equal(dense, codes.to_dense())
    x_hat = dense @ sae.decoder_directions + sae.decoder_bias
    assert torch.allclose(sae(x), x_hat, atol=1e-6) and torch.equal(sae(x), sae.decode(codes))


def test_a_mapping_of_one_site_is_its_tensor() -> None:
    sae, x = build({"a": 5}), torch.randn(4, 5)
    assert torch.equal(sae.encode_dense({"a": x, "other": torch.zeros(1)}), sae.encode_dense(x))
    assert isinstance(sae({"a": x}), torch.Tensor)


def test_mappings_of_several_sites() -> None:
    sae = build({"a": 3, "b": 2}, {"c": 4, "d": 1})
    x = {"b": torch.randn(6, 2), "a": torch.randn(6, 3)}  # the order of the mapping does not matter
    joined = torch.cat([x["a"], x["b"]], dim=1)
    assert torch.equal(sae.join_reads(x), joined)
    assert torch.equal(sae.encode_dense(x), sae.encode_dense(joined))
    x_hat = sae(x)
    assert list(x_hat) == ["c", "d"] and x_hat["c"].shape == (6, 4) and x_hat["d"].shape == (6, 1)
    for site, bias in (("c", sae.decoder_bias[:4]), ("d", sae.decoder_bias[4:])):
        expected = sae.encode_dense(x) @ sae.decoder_directions_at(site) + bias
        assert torch.allclose(x_hat[site], expected, atol=1e-6)


def test_join_and_split_are_inverse() -> None:
    sae = build({"a": 3}, {"c": 4, "d": 1, "e": 2})
    flat = torch.randn(2, 3, 7)
    parts = sae.split_writes(flat)
    assert {site: part.shape for site, part in parts.items()} == {"c": (2, 3, 4), "d": (2, 3, 1), "e": (2, 3, 2)}
    assert torch.equal(sae.join_writes(parts), flat)
    assert torch.equal(torch.cat([sae.decoder_directions_at(s) for s in sae.writes], 1), sae.decoder_directions)
    with pytest.raises(ValueError, match=r"does not write 'a'; the closest is '\w' \(of c, d, e\)"):
        sae.decoder_directions_at("a")


# -- errors ------------------------------------------------------------------------------------------------------------


def test_wrong_width_and_wrong_site() -> None:
    with pytest.raises(ValueError, match=r"reads activations of width 5 \(a\), found width 4 in shape \(2, 4\)"):
        build({"a": 5}).encode(torch.zeros(2, 4))
    several = build({"a": 5, "b": 3})
    with pytest.raises(ValueError, match="reads 'b', which is not among a, z"):
        several.encode({"a": torch.zeros(2, 5), "z": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="reads 3 values at 'b', found 4"):
        several.encode({"a": torch.zeros(2, 5), "b": torch.zeros(2, 4)})


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"d_sae": 8, "k": 9}, "k must be between 1 and d_sae = 8, found 9"),
        ({"d_sae": 8, "k": 0}, "found 0"),
        ({"d_sae": 16}, "d_sae = 16, found 32"),
        ({"d_sae": 0, "k": 1}, "d_sae must be at least 1, found 0"),
    ],
)
def test_top_k_refuses(keywords: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopK(**keywords)


# -- scale and model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", [None, {"b": 6}])
@pytest.mark.parametrize("scale", [4.0, 3.7, 0.01])
def test_rescale(writes: dict[str, int] | None, scale: float) -> None:
    """The dictionary of s · x: encode'(s x) = s encode(x), decode'(s z) = s decode(z); bit for bit if s = 4."""
    sae, x = build({"a": 5}, writes), torch.randn(40, 5)
    sae.latent_max.copy_(torch.rand(12))
    before, x_hat, maximum = sae.encode_dense(x), sae(x), sae.latent_max.clone()
    sae.rescale(dict.fromkeys(sae.wiring.sites, scale))
    after, scaled = sae.encode_dense(scale * x), sae(scale * x)
    if scale == 4.0:
        assert torch.equal(after, scale * before) and torch.equal(scaled, scale * x_hat)
    assert torch.allclose(after, scale * before, rtol=1e-4, atol=1e-5 * scale)
    assert torch.allclose(scaled, scale * x_hat, rtol=1e-4, atol=1e-5 * scale)
    assert torch.equal(sae.latent_max, scale * maximum)


def test_check_model() -> None:
    def model(**keywords: Any) -> Any:
        return SimpleNamespace(**({"model_name": "there", "model_hash": "bb22", "processing": "none"} | keywords))

    sae = build({"a": 5})
    check_model(sae, model())  # from plain arrays: passes
    check_model(sae, model(processing="compatibility"))
    sae.provenance = Provenance(model="here", model_hash="aa11")
    check_model(sae, model(model_hash="aa11"))
    with pytest.raises(ValueError, match=r"'here' \(model_hash aa11\).*'there' \(model_hash bb22\)"):
        check_model(sae, model())
    with pytest.raises(ValueError, match="processing 'none', the model is under 'compatibility'"):
        check_model(sae, model(model_hash="aa11", processing="compatibility"))
