"""Views of a dictionary: the same weights used otherwise, at one of its sites, on another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.dictionaries import Provenance

SITE = "blocks.1.hook_resid_post"
TEXTS = ["the cat sat on the mat and the dog saw it", "a hen is in the other room"]


@pytest.fixture
def sae(tiny_gpt2: Any) -> Any:
    torch.manual_seed(0)
    built = sk.TopK(d_sae=24, k=3).build(sk.Wiring(SITE), {SITE: 16}).requires_grad_(False)
    built.provenance = Provenance(model=tiny_gpt2.model_name, model_hash=tiny_gpt2.model_hash)
    return built


@pytest.fixture(scope="module")
def tuned(tiny_gpt2_folder: Path) -> Any:
    """A copy of the tiny model with other weights and another hash."""
    model = sk.load_model(tiny_gpt2_folder, device="cpu")
    with torch.no_grad():
        model.original_model.get_input_embeddings().weight.mul_(1.1)
    model.model_hash = "f" * 64
    model.model_name = "tuned"
    return model


def test_another_k_on_the_same_weights(sae: Any) -> None:
    x = torch.randn(20, 16)
    wide = sae.at(k=8)
    assert wide.encode(x).k == 8 and sae.encode(x).k == 3
    assert wide.method == sk.TopK(d_sae=24, k=8) and sae.method == sk.TopK(d_sae=24, k=3)
    assert wide.encoder_directions.data_ptr() == sae.encoder_directions.data_ptr()
    errors = [float((x - sae.at(k=k)(x)).square().sum()) for k in (1, 4, 24)]
    assert errors == sorted(errors, reverse=True) or errors[0] > errors[1]
    with pytest.raises(ValueError, match="k must be between 1 and d_sae = 24, found 25"):
        sae.at(k=25)
    with pytest.raises(ValueError, match="of TopK k can be changed after training, not 'd_sae'"):
        sae.at(d_sae=3)
    with pytest.raises(
        ValueError, match=r"all of blocks.1.hook_resid_post: there is none at 'blocks.0.hook_resid_post'"
    ):
        sae.at(site="blocks.0.hook_resid_post")


def test_one_of_several_sites() -> None:
    sites = ["a", "b"]
    every = sk.TopK(d_sae=24, k=3).build(sk.Wiring(sites, each=True), {"a": 16, "b": 16})
    assert every.encoder_directions.shape == (24, 16) and every.d_in == every.d_out == 16
    x = {"a": torch.randn(5, 16), "b": torch.randn(7, 16)}
    both = every(x)
    assert {site: len(h) for site, h in both.items()} == {"a": 5, "b": 7}
    assert torch.equal(every.at(site="b")(x["b"]), both["b"]) and every.at(site="b").site == "b"
    with pytest.raises(ValueError, match=r"reads one of a, b at a time, found a, b: give the activations of one site"):
        every.encode(x)
    with pytest.raises(ValueError, match="for each of a, b: there is none at 'c'"):
        every.at(site="c")
    with pytest.raises(ValueError, match="all sites must be equally wide, found"):
        sk.TopK(d_sae=24, k=3).build(sk.Wiring(sites, each=True), {"a": 16, "b": 8})
    with pytest.raises(ValueError, match="with each=True a dictionary writes where it reads"):
        sk.Wiring("a", "b", each=True)


def test_on_a_copy_of_the_model(sae: Any, tuned: Any, tiny_gpt2: Any, tmp_path: Path) -> None:
    """Both hashes stand in the provenance and in the report; the dictionary itself is of its own model still."""
    with pytest.raises(ValueError, match=r"made on .*model_hash .*, or, where this one is a copy .* sae.on\(model\)"):
        sk.evaluate(tuned, sae, TEXTS)
    view = sae.on(tuned)
    assert (view.provenance.model, view.provenance.model_hash) == ("tuned", "f" * 64)
    assert view.provenance.made_on == {"model": tiny_gpt2.model_name, "model_hash": tiny_gpt2.model_hash}
    assert sae.provenance.model_hash == tiny_gpt2.model_hash and sae.provenance.made_on is None
    header = sk.evaluate(tuned, view, TEXTS, ce_tokens=20).header
    assert header["model_hash"] == "f" * 12 and tiny_gpt2.model_hash[:12] in header["made on"]
    view.latent_max.fill_(1.0)
    with sk.edited(tuned, sk.Edit(view, 3)):
        assert tuned(torch.tensor([[0, 40, 50]])).isfinite().all()
    loaded = sk.load_dictionary(view.save(tmp_path))
    assert loaded.provenance == view.provenance
    assert loaded.on(tiny_gpt2).provenance.made_on == view.provenance.made_on, "the first one is kept"


def test_of_arrays_put_at_a_site(tiny_gpt2: Any) -> None:
    x = torch.randn(600, 16)
    own = sk.train(x, None, sk.TopK(d_sae=24, k=3), tokens=600, batch_size=100, callback=lambda _: None).dictionary
    there = own.on(tiny_gpt2, site=SITE)
    assert there.site == SITE and own.site == "x" and there.provenance.model_hash == tiny_gpt2.model_hash
    assert torch.equal(there(x), own(x))
    assert sk.evaluate(tiny_gpt2, there, TEXTS, ce_tokens=20).recovered is not None
    with pytest.raises(ValueError, match=r"the dictionary has 16 values at 'blocks.1.mlp.hook_post', this model 64"):
        own.on(tiny_gpt2, site="blocks.1.mlp.hook_post")
    with pytest.raises(ValueError, match="no hook 'x'"):
        own.on(tiny_gpt2)


def test_of_arrays_and_nowhere_yet_it_says_how_to_put_it_somewhere(tiny_gpt2: Any) -> None:
    own = sk.TopK(d_sae=24, k=3).build(sk.Wiring("x"), {"x": 16})
    with pytest.raises(ValueError, match=r"no hook 'x'.*made of arrays, so say where it stands, sae.on\(model, site="):
        own.on(tiny_gpt2)
    with pytest.raises(ValueError, match=r"no hook 'blocks.1.hook_resid'; the closest is 'blocks.1.hook_resid_post'"):
        own.on(tiny_gpt2, site="blocks.1.hook_resid")


def test_of_two_arrays_put_at_a_wiring(tiny_gpt2: Any, tmp_path: Path) -> None:
    own = sk.TopK(d_sae=24, k=3).build(sk.Wiring("in", "out"), {"in": 16, "out": 16}).requires_grad_(False)
    there = own.on(tiny_gpt2, site=sk.Wiring.transcoder(1))
    assert (there.wiring, own.wiring) == (sk.Wiring.transcoder(1), sk.Wiring("in", "out"))
    assert there.read_widths == {"blocks.1.mlp.hook_in": 16} and there.write_widths == {"blocks.1.hook_mlp_out": 16}
    assert sk.evaluate(tiny_gpt2, there, TEXTS, ce_tokens=20).l0 <= 3
    assert sk.load_dictionary(there.save(tmp_path)).wiring == there.wiring
    with pytest.raises(ValueError, match=r"a dictionary of in → out is put at two sites: on\(model, site=sk.Wiring"):
        own.on(tiny_gpt2, site=SITE)
    with pytest.raises(ValueError, match=r"cannot be put at .*: its sites are others in number or kind"):
        own.on(tiny_gpt2, site=sk.Wiring.crosscoder([0, 1]))


def test_one_inside_another_method_is_put_at_a_site_too(tiny_gpt2: Any) -> None:
    method = sk.EndToEnd(sk.TopK(d_sae=24, k=3))
    nested = method.build(sk.Wiring(SITE), {SITE: 16}).requires_grad_(False)
    nested.provenance = Provenance(model=tiny_gpt2.model_name, model_hash=tiny_gpt2.model_hash, tokens=7)
    other = "blocks.0.hook_resid_post"
    view = nested.on(tiny_gpt2, site=other)
    x = torch.randn(5, 16)
    assert view.site == other and torch.equal(view({other: x}), nested(x))
    assert view.provenance.tokens == 7 and nested.site == SITE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: sk.Wiring([]), r"reads sites by name, .* found \[\]"),
        (lambda: sk.Wiring(["a", 3]), r"found \['a', 3\]"),
        (lambda: sk.Wiring(["a", "b", "a"]), "reads each site once, found 'a' 2 times"),
        (lambda: sk.Wiring("a", ["b", "b"]), "writes each site once, found 'b' 2 times"),
    ],
)
def test_wirings_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        given()


def test_wirings_by_name() -> None:
    assert sk.Wiring.transcoder(2) == sk.Wiring("blocks.2.mlp.hook_in", "blocks.2.hook_mlp_out")
    assert sk.Wiring.crosscoder([0, 1]).reads == ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    two = sk.Wiring.crosscoder(SITE, models=("a", "b"))
    assert two.reads == two.writes == (f"a:{SITE}", f"b:{SITE}") and [site.model for site in two.reads] == ["a", "b"]
    layers = sk.Wiring.cross_layer([0, 1])
    assert layers.reads == ("blocks.0.mlp.hook_in", "blocks.1.mlp.hook_in")
    assert layers.writes == ("blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out")
    assert sk.Wiring(**layers.to_json()) == layers and hash(sk.Wiring("a")) == hash(sk.Wiring(["a"]))
    assert str(sk.Wiring(["a", "b"], each=True)) == "each of a, b" and str(sk.Wiring("a", "b")) == "a → b"
