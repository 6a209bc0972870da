"""Several models that read the same tokens: what is asked of them as of one, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import saekit as sk
from saekit.models import SeveralModels, by_model, describe_model, joined_width, model_at, reached_after, together

SITE = "blocks.0.hook_resid_post"


def test_names_hashes_and_sites(tiny_gpt2: Any, tiny_copy: Any) -> None:
    pair = SeveralModels({"a": tiny_gpt2, "b": tiny_copy})
    assert describe_model(pair) == {
        "model": {"a": tiny_gpt2.model_name, "b": tiny_copy.model_name},
        "model_hash": {"a": tiny_gpt2.model_hash, "b": tiny_copy.model_hash},
        "processing": "none",
    }
    assert together(pair) is pair and together(tiny_gpt2) is tiny_gpt2
    assert model_at(pair, f"b:{SITE}") == (tiny_copy, SITE) and model_at(tiny_gpt2, SITE) == (tiny_gpt2, SITE)
    owned = by_model(pair, [f"b:{SITE}", f"a:{SITE}", "b:blocks.1.hook_resid_pre"])
    assert [(own.name, own.model) for own in owned] == [("b", tiny_copy), ("a", tiny_gpt2)]
    assert owned[0].hooks == {f"b:{SITE}": SITE, "b:blocks.1.hook_resid_pre": "blocks.1.hook_resid_pre"}
    assert joined_width(pair, f"a:{SITE}") == 16


def test_rows_fit_all_of_them(tiny_gpt2: Any, tiny_copy: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(tiny_copy.cfg, "n_ctx", 10)
    rows = sk.activations.tokenize(SeveralModels({"a": tiny_gpt2, "b": tiny_copy}), ["the cat sat on the " * 9])
    assert rows.tokens.shape[1] == 10 and tiny_gpt2.cfg.n_ctx == 32


def test_harvested_together(tiny_gpt2: Any, tiny_copy: Any) -> None:
    """Each site's are those of its model alone, at the same tokens."""
    texts = ["the cat sat on the mat", "a dog"]
    sites = [f"b:{SITE}", f"a:{SITE}"]
    both = sk.activations.harvest({"a": tiny_gpt2, "b": tiny_copy}, texts, sites)
    for name, model in (("a", tiny_gpt2), ("b", tiny_copy)):
        assert torch.equal(both[f"{name}:{SITE}"], sk.activations.harvest(model, texts, SITE)[SITE])
    assert list(both) == sites and both.provenance["model_hash"]["b"] == tiny_copy.model_hash
    with pytest.raises(ValueError, match=f"of several models a, b a site is named with its own: 'a:{SITE}'"):
        sk.activations.harvest({"a": tiny_gpt2, "b": tiny_copy}, texts, SITE)


def test_the_order_in_which_sites_are_reached(tiny_gpt2: Any, tiny_copy: Any) -> None:
    later = "blocks.1.hook_mlp_out"
    assert reached_after(tiny_gpt2, later, SITE) and not reached_after(tiny_gpt2, SITE, later)
    assert not reached_after(tiny_gpt2, SITE, SITE)
    assert reached_after(tiny_gpt2, "blocks.0.hook_mlp_out", "blocks.0.mlp.hook_in")
    pair = SeveralModels({"a": tiny_gpt2, "b": tiny_copy})
    assert reached_after(pair, f"b:{later}", f"b:{SITE}") and not reached_after(pair, f"b:{later}", f"a:{SITE}")


def test_what_they_refuse(tiny_gpt2: Any, tiny_copy: Any) -> None:
    with pytest.raises(ValueError, match="at least one by its name, found an empty mapping"):
        SeveralModels({})
    with pytest.raises(TypeError, match=r"'b' is a model, as sk.load_model gives it, found a str"):
        SeveralModels({"a": tiny_gpt2, "b": "gpt2"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="the models 'a' and 'b' have different tokenizers"):
        SeveralModels({"a": tiny_gpt2, "b": sk.load_model("micro", device="cpu")})
    pair = SeveralModels({"a": tiny_gpt2, "b": tiny_copy})
    with pytest.raises(ValueError, match="is a site of the model 'c'; there is a, b"):
        model_at(pair, f"c:{SITE}")
    with pytest.raises(ValueError, match="is a site of the model 'a'; there is one, without a name"):
        model_at(tiny_gpt2, f"a:{SITE}")
    with pytest.raises(TypeError, match="model is a model, found several models by their names"):
        sk.before_and_after(pair, sk.Edit(torch.ones(16), site=f"a:{SITE}"), "the cat")
