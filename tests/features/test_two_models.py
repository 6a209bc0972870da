"""A store of a dictionary over two models: codes of both, logits and loss effects where a latent is written most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.dictionaries import Provenance
from saekit.features.building.output_path import OutputPath
from saekit.features.written import Written

SITE = "blocks.0.hook_resid_post"
A, B = f"a:{SITE}", f"b:{SITE}"
TEXTS = [f"the {a} {b} on a {c} and he is in it" for a in ("cat", "dog", "hat") for b in ("sat", "is") for c in "abcd"]
SETTINGS: dict[str, Any] = {"top": 3, "random": 3, "per_band": 2, "loss_examples": 2}


@pytest.fixture(scope="module")
def models(tiny_gpt2: Any, tiny_copy: Any, one_thread: None) -> dict[str, Any]:
    return {"a": tiny_gpt2, "b": tiny_copy}


def built(models: dict[str, Any], sites: list[str]) -> Any:
    """A random crosscoder whose even latents are written more in the second half of its sites."""
    sae: Any = sk.TopK(d_sae=20, k=4).build(sk.Wiring(sites), dict.fromkeys(sites, 16)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in (sae.encoder_directions, sae.decoder_directions):
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    sae.decoder_directions[::2, : 8 * len(sites)] *= 0.1
    sae.decoder_directions[1::2, 8 * len(sites) :] *= 0.1
    made_on = [{name: getattr(model, key) for name, model in models.items()} for key in ("model_name", "model_hash")]
    sae.provenance = Provenance(*made_on)
    return sae


@pytest.fixture(scope="module")
def sae(models: Any) -> Any:
    return built(models, [A, B])


@pytest.fixture(scope="module")
def store(models: Any, sae: Any, tmp_path_factory: pytest.TempPathFactory) -> sk.FeatureStore:
    folder = tmp_path_factory.mktemp("stores") / "both"
    return sk.FeatureStore.build(models, sae, TEXTS, folder, **SETTINGS, loss_effects="all")


@pytest.fixture(scope="module")
def z(models: Any, sae: Any) -> Tensor:
    """[row, position, latent], of both models read by themselves."""
    acts = {name: sk.activations.harvest(model, TEXTS, SITE) for name, model in models.items()}
    codes = sae.encode_dense({f"{name}:{SITE}": own[SITE] for name, own in acts.items()})
    return codes * acts["a"].mask[..., None]


def test_firings_are_of_the_codes_of_both(store: sk.FeatureStore, z: Tensor) -> None:
    latents = store.latents()
    assert latents.firings.tolist() == (z != 0).sum((0, 1)).tolist()
    assert np.allclose(latents.max_activation, z.amax((0, 1)), rtol=1e-5)
    made = store.manifest["provenance"]
    assert set(made["model_hash"]) == {"a", "b"} and store.listing()["model"] == "a: tiny_gpt2, b: copy"


def test_whose_each_latent_is(store: sk.FeatureStore, sae: Any) -> None:
    shares = sk.metrics.shared_latents(sae)
    assert np.allclose(store.latents().share, shares.share, rtol=1e-6)
    assert store.matching({"share": [0.5, None], "dead": True}) and "share" in store.listing()["columns"]
    assert "a alone has it" in store.listing()["definitions"]["share"]["text"]
    assert Written.of(sae).home.tolist() == [1, 0] * 10


def test_logits_are_of_the_model_that_it_is_written_in_most(store: sk.FeatureStore, models: Any, sae: Any) -> None:
    rows = sk.activations.tokenize(models["a"], TEXTS)
    frame = store.latents(all=True)
    for latent in range(20):
        if not frame.firings[latent]:
            continue
        name = "ba"[latent % 2]
        d = sae.decoder_directions_at(f"{name}:{SITE}")[latent : latent + 1]
        path = OutputPath.of(models[name], rows)
        assert path is not None
        logits = path(d)[0] * frame.max_activation[latent]
        ends = [store.text_of(int(end)) for end in (logits.argmax(), logits.argmin())]
        assert ends == [frame.top_tokens[latent][0], frame.bottom_tokens[latent][0]]
        assert frame.top_logits[latent][0] == pytest.approx(float(logits.max()), rel=1e-3)
    assert "of the model in which its decoder row is longest, a: " in store.logits(0).definition


def test_loss_effects_are_of_that_model(store: sk.FeatureStore, models: Any, sae: Any, z: Tensor) -> None:
    """Its loss without the latent, taken away at its own site at every counted token, minus that with it."""
    rows = sk.activations.tokenize(models["a"], TEXTS)
    found = store.sql(
        "select latent, document, position, loss_effect from activations join tokens using (place) "
        "where isfinite(loss_effect)"
    )
    assert set(found.latent % 2) == {0, 1}
    for row in found.itertuples():
        name = "ba"[row.latent % 2]
        d = sae.decoder_directions_at(f"{name}:{SITE}")[row.latent]
        tokens, at = rows.tokens[row.document : row.document + 1], row.position + 1  # BOS comes first
        losses = []
        for factor in (1, 0):
            change = -factor * z[row.document, : tokens.shape[1], row.latent, None] * d
            hook = (SITE, lambda h, hook, change=change: h + change)
            with torch.no_grad():
                logits = models[name].run_with_hooks(tokens, fwd_hooks=[hook])
            losses.append(-float(logits[0, at].log_softmax(-1)[tokens[0, at + 1]]))
        assert row.loss_effect == pytest.approx(losses[0] - losses[1], abs=2e-5)


def test_effects_that_wait_for_the_models(models: Any, sae: Any, store: sk.FeatureStore, tmp_path: Path) -> None:
    later = sk.FeatureStore.build(models, sae, TEXTS, tmp_path / "later", **SETTINGS)
    assert later.latents().loss_effect.isna().all()
    assert later.feature(0, models).html and later.latents().loss_effect.notna().sum() == 1
    assert later.measure_loss_effects(models) > 5
    assert np.allclose(later.latents().loss_effect, store.latents().loss_effect, atol=1e-6, equal_nan=True)
    with pytest.raises(ValueError, match="does not run on one of them alone"):
        later.measure_loss_effects(models["a"])


def test_a_prompt_and_a_browser(store: sk.FeatureStore, models: Any, sae: Any, z: Tensor) -> None:
    found = sk.features_on(models, sae, TEXTS[0])
    dense = torch.zeros(len(found.tokens), 20)
    dense[:, found.latents] = torch.from_numpy(found.values).T
    assert torch.allclose(dense, z[0, : len(found.tokens)], atol=1e-5)
    assert store.on_prompt(models, TEXTS[0])["latents"]
    browser = sk.FeatureBrowser(store, model=models)
    assert "share" in [column["name"] for column in browser._listing["about"]]
    with pytest.raises(ValueError, match="together: it does not run on one of them alone"):
        sk.FeatureBrowser(store, model=models["a"])
    with pytest.raises(ValueError, match=r"model_hash .* as its model 'a', this model is"):
        store.check_model({"a": models["b"], "b": models["a"]})


def test_a_store_goes_on_with_the_same_models_alone(models: Any, sae: Any, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    once = sk.FeatureStore.build(models, sae, TEXTS, folder, **SETTINGS)
    assert sk.FeatureStore.build(models, sae, TEXTS, folder, **SETTINGS).manifest == once.manifest
    with models["b"].hooks(fwd_hooks=[(SITE, lambda h, hook: h)]), pytest.raises(ValueError, match=r"given\.model\.b"):
        sk.FeatureStore.build(models, sae, TEXTS, folder, **SETTINGS)


def test_several_streams_of_a_model_have_no_single_path(models: Any, tmp_path: Path) -> None:
    sites = [f"{name}:blocks.{layer}.hook_resid_post" for name in "ab" for layer in (0, 1)]
    many = built(models, sites)
    store = sk.FeatureStore.build(models, many, TEXTS[:6], tmp_path / "many", **SETTINGS)
    assert np.allclose(store.latents().share, sk.metrics.shared_latents(many).share, rtol=1e-6)
    assert [len(own) for own in Written.of(many).sites] == [2, 2]
    latent = int(store.latents().firings.argmax())
    assert store.view(latent)["absent"]["logits"].startswith("A latent writes several sites of a model, a:blocks.0")
    assert store.measure_loss_effects(models)


def test_one_model_has_no_share(tiny_gpt2: Any, tmp_path: Path, one_thread: None) -> None:
    single = sk.TopK(d_sae=12, k=3).build(sk.Wiring(SITE), {SITE: 16})
    store = sk.FeatureStore.build(tiny_gpt2, single, TEXTS[:6], tmp_path / "one", **SETTINGS)
    assert "share" not in store.latents() and "share" not in store.listing()["definitions"]


def test_bad_inputs(models: Any, sae: Any, tiny_gpt2: Any, tmp_path: Path) -> None:
    """One clear sentence from the store and the prompt."""
    loose, wide = built(models, [A, B]), sk.TopK(d_sae=8, k=2).build(sk.Wiring([A, B]), {A: 16, B: 24})
    loose.provenance = Provenance()  # as one made of arrays: no hash to hold against
    refused: list[tuple[Any, Any, str]] = [
        (tiny_gpt2, sae, "made on the models a, b together: it does not run on one of them alone"),
        ({"a": tiny_gpt2, "c": tiny_gpt2}, sae, "and 'b' is not among those given, a, c"),
        ({"a": tiny_gpt2, "b": tiny_gpt2}, sae, "model_hash .* as its model 'b', this model is"),
        ({"a": tiny_gpt2, "b": sk.load_model("micro", device="cpu")}, loose, "have different tokenizers"),
        (models, wide, f"24 values at '{B}', (the model|found) 16"),
    ]
    for given, dictionary, message in refused:
        with pytest.raises(ValueError, match=message):
            sk.FeatureStore.build(given, dictionary, TEXTS, tmp_path / "refused")
        with pytest.raises(ValueError, match=message):
            sk.features_on(given, dictionary, TEXTS[0])
    assert not (tmp_path / "refused").exists()
