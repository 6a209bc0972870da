"""What people give to evaluate: activations without a model, a run, names, swapped arguments."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

import saekit as sk

SITE = "blocks.1.hook_resid_post"
TEXTS = ["the cat sat on a mat", "the dog is in the house of the king", "a cat and a dog"]


@pytest.fixture(scope="module")
def run(tiny_gpt2):
    return sk.train(tiny_gpt2, SITE, sk.TopK(d_sae=48, k=2), TEXTS, tokens=32, batch_size=16, callback=lambda _: None)


@pytest.fixture(scope="module")
def acts(tiny_gpt2):
    return sk.activations.harvest(tiny_gpt2, TEXTS, SITE)


def test_activations_in_place_of_a_model_give_the_numbers_that_need_none(tiny_gpt2, run, acts, tmp_path):
    report = sk.evaluate(tiny_gpt2, run.dictionary, TEXTS)
    x = acts.flat(SITE)
    np.save(tmp_path / "x.npy", x.numpy())
    frozen = x.numpy().copy()
    frozen.setflags(write=False)
    forms = [x, frozen, tmp_path / "x.npy", str(tmp_path / "x.npy"), {SITE: x}, acts, pandas.DataFrame(x.numpy())]
    for form in forms:
        own = sk.evaluate(form, run.dictionary)
        assert own.explained_variance == pytest.approx(report.explained_variance, abs=1e-6)
        assert (own.l0, own.dead, own.tokens) == (report.l0, report.dead, report.tokens)
        assert torch.equal(own.density, report.density)
        assert own.recovered is None and np.isnan(own.ce_recovered) and own.concepts is None
        assert "without a model" in str(own) and own._repr_html_()


def test_activations_that_do_not_fit(run, acts):
    with pytest.raises(ValueError, match=r"15.*16|16.*15"):
        sk.evaluate(acts.flat(SITE)[:, :15], run.dictionary)
    with pytest.raises(ValueError, match="NaN activations"):
        sk.evaluate(torch.full((3, 16), torch.nan), run.dictionary)
    with pytest.raises(ValueError, match=r"\[n, d\] with n ≥ 1, found shape \(0, 16\)"):
        sk.evaluate(torch.zeros(0, 16), run.dictionary)
    with pytest.raises(ValueError, match=r"there is no array for 'blocks\.1\.hook_resid_post'"):
        sk.evaluate({"blocks.0.hook_resid_post": acts.flat(SITE)}, run.dictionary)


def test_a_run_stands_for_its_dictionary(tiny_gpt2, run, tmp_path):
    assert sk.evaluate(tiny_gpt2, run, TEXTS).l0 == sk.evaluate(tiny_gpt2, run.dictionary, TEXTS).l0
    assert len(sk.features_on(tiny_gpt2, run, "the cat").latents)
    assert sk.FeatureStore.build(tiny_gpt2, run, TEXTS, tmp_path / "store").d_sae == 48
    assert sk.measure_latent_max(tiny_gpt2, run, TEXTS).shape == (48,)


def test_swapped_arguments_are_one_sentence_that_gives_the_call(tiny_gpt2, run, tmp_path):
    sae, endless = run.dictionary, sk.load_corpus("microworld")
    harvest, build = sk.activations.harvest, sk.FeatureStore.build
    calls = {
        r"model is a model, found a dictionary: the call is sk\.evaluate": lambda: sk.evaluate(sae, tiny_gpt2, TEXTS),
        r"dictionary is a dictionary, found a corpus": lambda: sk.evaluate(tiny_gpt2, endless, sae),
        r"source is a corpus, found a site \('blocks.1.hook_resid_post'\): the call is sk\.activations\.harvest": (
            lambda: harvest(tiny_gpt2, SITE, endless, tokens=100)
        ),
        r"source is a corpus, found a site: the call is": lambda: harvest(tiny_gpt2, [SITE], endless),
        r"model is a model, found a corpus: the call is": lambda: harvest(endless, tiny_gpt2, SITE),
        r"model is a model, found a dictionary: the call is FeatureStore": lambda: build(
            sae, tiny_gpt2, TEXTS, tmp_path
        ),
        r"dictionary is a dictionary, found a method": lambda: build(tiny_gpt2, sk.TopK(d_sae=8, k=2), TEXTS, tmp_path),
        r"model is a model, found a dictionary: the call is sk\.features_on": lambda: sk.features_on(
            sae, tiny_gpt2, "the cat"
        ),
        r"the call is ActivationStore": lambda: sk.activations.ActivationStore.build(
            tiny_gpt2, SITE, endless, tmp_path / "kept", tokens=10
        ),
        r"the call is sk\.measure_latent_max": lambda: sk.measure_latent_max(sae, tiny_gpt2, endless),
        r"there is no corpus to evaluate on": lambda: sk.evaluate(tiny_gpt2, sae),
        r"a dictionary is wanted, such as sk\.load_dictionary\('runs/a'\), found 'runs/a'": lambda: sk.evaluate(
            tiny_gpt2, "runs/a", TEXTS
        ),
    }
    for sentence, call in calls.items():
        with pytest.raises(TypeError, match=sentence):
            call()


def test_the_split_stands_first_and_train_is_warned_of(tiny_gpt2, run):
    with pytest.warns(UserWarning, match=r"of the train split of 'microworld'.*split='heldout'"):
        report = sk.evaluate(tiny_gpt2, run, "microworld", tokens=40, ce_tokens=10)
    assert str(report).startswith("Report on microworld/train, the split that dictionaries are trained on\n")
    heldout = sk.evaluate(tiny_gpt2, run, sk.load_corpus("microworld", "heldout", n=20), tokens=40, ce_tokens=10)
    assert str(heldout).startswith("Report on microworld/heldout\n")
    assert "Report on microworld/heldout" in heldout._repr_html_()
