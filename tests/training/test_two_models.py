"""Training on two models at the same tokens."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import torch

import saekit as sk

SITE, NEXT = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat", "hen")]
METHOD = sk.TopK(d_sae=24, k=3)
train = functools.partial(sk.train, callback=lambda _: None, batch_size=64)


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items())


def test_a_crosscoder_over_two_models(tiny_gpt2, tiny_copy, tmp_path):
    """Both read the same tokens; both hashes are kept; a stopped run goes on to the same bits."""
    models, wiring = {"a": tiny_gpt2, "b": tiny_copy}, sk.Wiring.crosscoder([0], models=["a", "b"])
    assert tiny_gpt2.model_hash != tiny_copy.model_hash and wiring.reads == (f"a:{SITE}", f"b:{SITE}")
    go = functools.partial(train, models, wiring, METHOD, TEXTS, tokens=64 * 30, lr=1e-2)

    def stop(progress):
        if progress.tokens == 64 * 7:
            raise KeyboardInterrupt

    whole = go()
    assert not go(out=tmp_path, callback=stop).finished
    sae = go(out=tmp_path).dictionary
    assert same(whole.dictionary, sae)
    assert sae.provenance.model_hash == {"a": tiny_gpt2.model_hash, "b": tiny_copy.model_hash}
    config = json.loads((tmp_path / "config.json").read_text())
    assert set(config["source"]["model"]) == {"a", "b"}
    loaded = sk.load_dictionary(tmp_path / "dictionary")
    assert dict(loaded.provenance.model_hash) == sae.provenance.model_hash and same(loaded, sae)
    x = {}
    for name, model in models.items():
        x[f"{name}:{SITE}"] = sk.activations.harvest(model, TEXTS, [SITE]).flat(SITE)
    assert not torch.allclose(*x.values(), atol=0.1)
    for site, x_hat in sae(x).items():
        assert sk.metrics.explained_variance(x[site], x_hat) > 0.5, site
    largest = sae.encode_dense(x).amax(0)  # of all texts, a few tokens of which no step was given
    assert (sae.latent_max <= largest * (1 + 1e-4)).all() and torch.allclose(sae.latent_max, largest, rtol=1e-2)
    with pytest.raises(ValueError, match="made on the models a, b together: it does not run on one"):
        sk.dictionaries.check_model(sae, tiny_gpt2)
    with pytest.raises(ValueError, match="differs in source"):
        train({"a": tiny_copy, "b": tiny_gpt2}, wiring, METHOD, TEXTS, tokens=64 * 30, lr=1e-2, out=tmp_path)


def test_models_that_do_not_go_together(tiny_gpt2, tiny_copy, tiny_llama):
    pair = {"a": tiny_gpt2, "b": tiny_copy}
    with pytest.raises(ValueError, match=f"a site is named with its own: 'a:{SITE}', found '{SITE}'"):
        train(pair, SITE, METHOD, TEXTS, tokens=64)
    with pytest.raises(ValueError, match="is a site of the model 'c'; there is a, b"):
        train(pair, f"c:{SITE}", METHOD, TEXTS, tokens=64)
    with pytest.raises(TypeError, match=r"'b' is a model, as sk\.load_model gives it, found a str"):
        train({"a": tiny_gpt2, "b": "gpt2"}, [f"a:{SITE}", f"b:{SITE}"], METHOD, TEXTS, tokens=64)
    other = sk.load_model("micro", device="cpu")
    with pytest.raises(ValueError, match="the models 'a' and 'b' have different tokenizers"):
        train({"a": tiny_gpt2, "b": other}, [f"a:{SITE}", f"b:{SITE}"], METHOD, TEXTS, tokens=64)
    mixed = train({"a": tiny_gpt2, "l": tiny_llama}, [f"a:{SITE}", f"l:{NEXT}"], METHOD, TEXTS, tokens=64)
    assert mixed.dictionary.read_widths == {f"a:{SITE}": 16, f"l:{NEXT}": 16}
