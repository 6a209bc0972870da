"""What is found out about a model is about the model as it is now: a hook, or other weights, leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import saekit as sk
from saekit.models import bridge, can_be_edited, fast, forward, load_model
from saekit.models.site import EDITABLE

TOKENS = torch.tensor([[0, 40, 270, 7, 99, 5]])
SITE = "blocks.1.hook_resid_post"


def offers(model: Any) -> list[str]:
    """Where edits are offered, and where the fast path reads."""
    sites = [f"blocks.{layer}.{kind}" for layer in (0, 1) for kind in EDITABLE]
    edits = [site for site in sites if can_be_edited(model, site)]
    return edits + [f"fast {site}" for site in sites if fast.fast_path(model, [site]) is not None]


def scaled(module: nn.Module, given: Any, out: Any) -> Any:
    return (3 * out[0], *out[1:]) if isinstance(out, tuple) else 3 * out


def layer(model: Any) -> Any:
    return model.original_model.model.layers[0]


@contextmanager
def on_a_block(model: Any) -> Iterator[None]:
    handle = layer(model).register_forward_hook(scaled)
    yield
    handle.remove()


@contextmanager
def on_the_mlp(model: Any) -> Iterator[None]:
    handle = layer(model).mlp.register_forward_hook(scaled)
    yield
    handle.remove()


@contextmanager
def before_a_module(model: Any) -> Iterator[None]:
    handle = layer(model).mlp.register_forward_pre_hook(lambda module, given: (3 * given[0],))
    yield
    handle.remove()


@contextmanager
def on_every_module(model: Any) -> Iterator[None]:
    mlp = layer(model).mlp
    handle = nn.modules.module.register_module_forward_hook(lambda m, given, out: 3 * out if m is mlp else None)
    yield
    handle.remove()


@contextmanager
def a_forward_of_ones_own(model: Any) -> Iterator[None]:
    mlp = layer(model).mlp
    own = mlp.forward
    mlp.__dict__["forward"] = lambda *given, **more: 3 * own(*given, **more)
    yield
    del mlp.__dict__["forward"]


@contextmanager
def by_add_hook(model: Any) -> Iterator[None]:
    model.add_hook("blocks.0.hook_resid_mid", lambda h, hook: 0 * h, is_permanent=True)
    yield
    model.reset_hooks(including_permanent=True)


@contextmanager
def in_low_precision(model: Any) -> Iterator[None]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield


@contextmanager
def in_training(model: Any) -> Iterator[None]:
    model.train()
    yield
    model.eval()


WAYS = [on_a_block, on_the_mlp, before_a_module, on_every_module, a_forward_of_ones_own, by_add_hook, in_low_precision]


@pytest.mark.parametrize("way", [*WAYS, in_training])
def test_what_was_found_out_beside_somebodys_hook_is_forgotten_with_it(tiny_llama_folder, tiny_llama, way):
    model = load_model(tiny_llama_folder, device="cpu")
    with way(model):
        offers(model)
    assert offers(model) == offers(tiny_llama) and len(offers(model)) > 20


@pytest.mark.parametrize("way", [w for w in WAYS if w is not in_low_precision])
def test_a_hook_that_is_put_on_later_is_respected(tiny_llama_folder, way):
    """Also where the fast path was known before: it would run a copy that the hook is not on."""
    model = load_model(tiny_llama_folder, device="cpu")
    before = forward(model, TOKENS, SITE).kept[SITE]
    with way(model):
        after = forward(model, TOKENS, SITE).kept[SITE]
        expected = bridge.through_bridge(model, TOKENS, [SITE]).kept[SITE]
    assert torch.equal(after, expected) and not torch.allclose(after, before)
    assert torch.equal(forward(model, TOKENS, SITE).kept[SITE], before)


@pytest.mark.parametrize("inner", ["hook_mlp_out", "hook_attn_out", "attn.hook_z"])
@pytest.mark.parametrize("outer", ["hook_resid_post", "hook_mlp_out", "attn.hook_k"])
def test_edits_are_offered_inside_of_others(tiny_llama_folder, outer, inner):
    def edit(kind: str) -> sk.Edit:
        width = 8 if kind in ("attn.hook_k", "attn.hook_v") else 16
        return sk.Edit(torch.ones(width), mode="add", strength=3.0, site=f"blocks.1.{kind}")

    model = load_model(tiny_llama_folder, device="cpu")
    with sk.edited(model, edit(outer)), sk.edited(model, edit(inner)):
        model(TOKENS)


def test_recovered_is_there_again_after_an_evaluation_beside_a_hook():
    model, site = load_model("micro", device="cpu"), "blocks.0.hook_mlp_out"
    sae = sk.TopK(d_sae=32, k=4).build(sk.Wiring(site), {site: 128})
    text = ["The cat sat on the mat and looked at the dog."] * 4
    with on_the_mlp(model):
        assert sk.evaluate(model, sae, text).recovered is None  # an edit there would be three times what it says
    assert sk.evaluate(model, sae, text).recovered is not None


def test_weights_that_were_changed_in_place_are_looked_at_again(tiny_llama_folder):
    """What a block adds is three times what passes the hook, which shows once the MLP gives something."""
    model = load_model(tiny_llama_folder, device="cpu")
    out = layer(model).mlp.down_proj.original_component.weight
    stored = out.clone()
    with a_forward_of_ones_own(model):
        out.zero_()
        assert can_be_edited(model, "blocks.0.hook_mlp_out")
        out.copy_(stored)
        assert not can_be_edited(model, "blocks.0.hook_mlp_out")


def test_what_a_switch_changes_is_looked_at_again(tiny_llama_folder):
    model = load_model(tiny_llama_folder, device="cpu")
    before = offers(model)
    for switch in (model.set_use_attn_result, model.set_use_split_qkv_input, model.set_use_hook_mlp_in):
        switch(True)
        fresh = load_model(tiny_llama_folder, device="cpu")
        getattr(fresh, switch.__name__)(True)
        assert offers(model) == offers(fresh)
        switch(False)
        assert offers(model) == before
