"""A run's folder is of what was given: another array, other tokens, another model in it are refused, not returned."""

from __future__ import annotations

import json

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore
from saekit.models import load_model

HOOK = "blocks.1.hook_resid_post"
METHOD = sk.TopK(d_sae=32, k=4)


def train(given, folder, site=None, corpus=None):
    return sk.train(
        given, site, METHOD, corpus, tokens=64, batch_size=32, out=folder, callback=lambda _: None
    ).dictionary


@pytest.fixture
def tokens():
    return torch.randint(5, 290, (16, 6), generator=torch.Generator().manual_seed(0))


def test_one_value_of_a_long_array_is_another_array(tmp_path):
    x = torch.randn(5000, 16, generator=torch.Generator().manual_seed(0))
    first = train(x, tmp_path)
    assert torch.equal(train(x.clone(), tmp_path).decoder_directions, first.decoder_directions)
    x[3, 2] += 1
    with pytest.raises(ValueError, match=r"holds another run; it differs in source\.array"):
        train(x, tmp_path)


def test_other_tokens_or_a_model_that_changed_since(tiny_gpt2_folder, tokens, tmp_path):
    model = load_model(tiny_gpt2_folder, device="cpu")
    train(model, tmp_path, HOOK, tokens)
    train(model, tmp_path, HOOK, tokens.tolist())
    with pytest.raises(ValueError, match=r"source\.array \(there '[0-9a-f]{12}…', here"):
        train(model, tmp_path, HOOK, tokens.flip(0))
    next(model.original_model.parameters()).data.mul_(1.01)
    with pytest.raises(ValueError, match=r"given\.model\.weights"):
        train(model, tmp_path, HOOK, tokens)


def test_a_store_of_another_precision(tiny_gpt2, tokens, tmp_path):
    stores = [
        ActivationStore.build(tiny_gpt2, tokens, HOOK, tmp_path / name, tokens=90, dtype=getattr(torch, name))
        for name in ("float32", "float16")
    ]
    train(stores[0], tmp_path / "run", HOOK)
    with pytest.raises(ValueError, match=r"given\.store"):
        train(stores[1], tmp_path / "run", HOOK)


def test_a_run_of_before_fingerprints_says_what_cannot_be_known(tmp_path):
    x = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    train(x, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["given"]
    config["source"]["array"] = "of some of its rows"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="cannot be known"):
        train(x, tmp_path)


def test_the_rows_a_dictionary_was_trained_on_stand_in_its_provenance_and_repr(tiny_gpt2, tmp_path):
    run = sk.train(tiny_gpt2, HOOK, METHOD, ["the cat sat", "a dog"], tokens=64, batch_size=32, callback=lambda _: None)
    assert run.dictionary.provenance.prepend_bos is True
    first, method, last, *_ = repr(run).splitlines()
    assert first == "Run: 64 counted tokens of list/train, each row from BOS on, seed 0" and "L0 " in last
    assert method == f"{METHOD!r} at {HOOK}"
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    of_rows = sk.train(x, None, METHOD, tokens=64, batch_size=32, callback=lambda _: None)
    assert repr(of_rows).splitlines()[:2] == ["Run: 64 rows, seed 0", f"{METHOD!r} at x"]
    run.dictionary.save(tmp_path / "saved")
    assert sk.load_dictionary(tmp_path / "saved").provenance.prepend_bos is True
