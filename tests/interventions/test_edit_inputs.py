"""What people give to edits: taken, or one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import saekit as sk

SITE = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def run(tiny_gpt2):
    texts = ["the cat sat on a mat", "the dog"]
    return sk.train(tiny_gpt2, SITE, sk.TopK(d_sae=48, k=2), texts, tokens=32, batch_size=16, callback=lambda _: None)


@pytest.fixture
def sae(run):
    before = run.dictionary.latent_max.clone()
    run.dictionary.latent_max.fill_(1)
    yield run.dictionary
    run.dictionary.latent_max.copy_(before)


@pytest.mark.parametrize("mode", ["add", "clamp", "minimum", "project"])
def test_a_maximum_of_0_is_no_unit(tiny_gpt2, sae, mode):
    sae.latent_max[3] = 0
    sentence = rf"latent_max, which is 0 for latent 3: it never fired .* so that '{mode}' of any strength .*"
    with pytest.raises(ValueError, match=sentence + r"measure it with sk\.measure_latent_max\(model, sae, corpus\)"):
        sk.Edit(sae, latent=[1, 3], mode=mode, strength=100)


@pytest.mark.parametrize("unit", [0.0, float("nan")])
def test_ablate_and_clamp_to_0_need_no_unit(tiny_gpt2, sae, unit):
    tokens = torch.tensor([[0, 5, 6, 7, 8]])
    latent = int(sae.encode(sk.activations.harvest(tiny_gpt2, tokens, SITE)[SITE][0])[2].indices[0])
    sae.latent_max[latent] = unit
    with sk.edited(tiny_gpt2, sk.Edit(sae, latent=latent, mode="ablate")) as model:
        ablated = model(tokens)
    with sk.edited(tiny_gpt2, sk.Edit(sae, latent=latent, mode="clamp", strength=0)) as model:
        clamped = model(tokens)
    assert torch.equal(ablated, clamped) and not torch.equal(ablated, tiny_gpt2(tokens))


@pytest.mark.parametrize("latent", [3, 3.0, np.int64(3), torch.tensor(3), [3], np.array([3]), (3.0,)])
def test_a_latent_is_taken_however_it_is_written(sae, latent):
    assert sk.Edit(sae, latent=latent, mode="ablate").latents == [3]


@pytest.mark.parametrize("latent", ["3", 3.5, True, None])
def test_what_is_no_latent_is_a_sentence(sae, latent):
    with pytest.raises(ValueError, match=r"an edit through a dictionary needs a latent|a latent is an integer"):
        sk.Edit(sae, latent=latent, mode="ablate")


def test_a_run_stands_for_its_dictionary(tiny_gpt2, run, sae):
    assert sk.Edit(run, latent=3, mode="ablate").dictionaries == (sae,)
    assert sk.Edit([run, run], latent=[3, 4], mode="ablate").dictionaries == (sae, sae)
    tokens = torch.tensor([[0, 5, 6, 7]])
    with sk.spliced(tiny_gpt2, run):
        of_run = tiny_gpt2(tokens)
    with sk.spliced(tiny_gpt2, sae):
        assert torch.equal(tiny_gpt2(tokens), of_run)


def test_vectors_may_be_arrays(tiny_gpt2):
    tokens, v = torch.tensor([[0, 5, 6, 7]]), np.linspace(-1, 1, 16, dtype=np.float32)
    with sk.edited(tiny_gpt2, sk.Edit(v, site=SITE)):
        of_array = tiny_gpt2(tokens)
    with sk.edited(tiny_gpt2, sk.Edit(torch.from_numpy(v), site=SITE)):
        assert torch.equal(tiny_gpt2(tokens), of_array)


@pytest.mark.parametrize("strength", ["2", True, float("nan")])
def test_a_strength_is_a_number(sae, strength):
    with pytest.raises((TypeError, ValueError), match="strength is a number, found"):
        sk.Edit(sae, latent=3, mode="clamp", strength=strength)


def test_swapped_and_other_things(tiny_gpt2, sae):
    edit = sk.Edit(sae, latent=3, mode="ablate")
    call = r"the call is sk\.edited\(model, edits\)"
    with pytest.raises(TypeError, match=rf"model is a model, found an edit: {call}"), sk.edited([edit], tiny_gpt2):
        pass
    with pytest.raises(TypeError, match=rf"edits is an edit, found a dictionary: {call}"), sk.edited(tiny_gpt2, sae):
        pass
    with pytest.raises(TypeError, match=r"edits are sk\.Edit\(.*found 3"), sk.edited(tiny_gpt2, [3]):
        pass
    call = r"the call is sk\.spliced\(model, dictionary\)"
    with pytest.raises(TypeError, match=rf"model is a model, found a dictionary: {call}"), sk.spliced(sae, tiny_gpt2):
        pass
