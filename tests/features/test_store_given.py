"""A store is of what was given: another text, another model under the same name, and it says so."""

from __future__ import annotations

import json

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore
from saekit.models import load_model

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def model(tiny_gpt2_folder):
    return load_model(tiny_gpt2_folder, device="cpu")


@pytest.fixture
def tokens():
    return torch.randint(5, 290, (6, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sae(model, tokens):
    return sk.train(
        model, HOOK, sk.TopK(d_sae=32, k=4), tokens, tokens=48, batch_size=16, callback=lambda _: None
    ).dictionary


def builders(model, sae, folder):
    """The two kinds of folders that are built from a model and a source, begun and gone on with by the same call."""
    return [
        lambda source: sk.FeatureStore.build(model, sae, source, folder / "features"),
        lambda source: ActivationStore.build(model, source, HOOK, folder / "activations", tokens=48),
    ]


def test_other_tokens_or_another_mask_in_the_same_folder_are_refused(model, sae, tokens, tmp_path):
    other = tokens.clone()
    other[3, 4] += 1
    mask = torch.ones_like(tokens)
    mask[0, -1] = 0
    for build in builders(model, sae, tmp_path):
        build(tokens)
        build(tokens.numpy())  # the same in another form
        for source in (other, {"input_ids": tokens, "attention_mask": mask}):
            with pytest.raises(ValueError, match=r"holds another store; it differs in given\.text"):
                build(source)


def test_other_texts_of_as_many_tokens_are_refused(model, sae, tmp_path):
    for build in builders(model, sae, tmp_path):
        build(["the cat sat", "the dog"])
        with pytest.raises(ValueError, match=r"given\.text|fingerprint"):
            build(["the cat sat", "the hog"])


@pytest.mark.parametrize("change", ["weights", "precision", "hook", "torch hook", "context"])
def test_the_model_as_it_is_now_is_held_against_the_folder(model, sae, tokens, tmp_path, change):
    for build in builders(model, sae, tmp_path):
        build(tokens)
    field = {"weights": "weights", "precision": "dtype", "context": "context"}.get(change, "hooks")
    if change == "weights":
        next(model.original_model.parameters()).data.mul_(1.01)
    elif change == "precision":
        model.to(torch.bfloat16)
    elif change == "context":
        model.cfg.n_ctx = 16
    elif change == "torch hook":
        list(model.original_model.modules())[-1].register_forward_hook(lambda module, given, out: out * 2)
    else:
        model.add_hook(HOOK, lambda h, hook: h * 2)
    for build in builders(model, sae, tmp_path):
        with pytest.raises(ValueError, match=rf"given\.model\.{field} \(there "):
            build(tokens)


def test_a_folder_of_before_fingerprints_says_what_cannot_be_known(model, sae, tokens, tmp_path):
    stores = [build(tokens) for build in builders(model, sae, tmp_path)]
    for store in stores:
        file = store.folder / "manifest.json"
        manifest = json.loads(file.read_text())
        del manifest["given"]
        file.write_text(json.dumps(manifest))
    for kind, store in zip((sk.FeatureStore, ActivationStore), stores, strict=True):
        with pytest.warns(UserWarning, match=r"whether it is of the same text, and of the model as it is now, cannot"):
            kind.open(store.folder)
    for build in builders(model, sae, tmp_path):
        with pytest.warns(UserWarning, match="cannot be known"):
            build(tokens)


def test_a_prompt_is_read_as_the_store_was(model, sae, tmp_path):
    store = sk.FeatureStore.build(model, sae, ["the<|user|>cat", "the dog"], tmp_path / "store", exclude="special")
    assert store.on_prompt(model, "the<|user|>cat")["counted"] == [False, True, False, True, True]
    assert sk.features_on(model, sae, "the<|user|>cat").counted.tolist() == [False, True, True, True, True]
