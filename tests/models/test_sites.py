"""Sites: which hooks may be read, which edited, and that an edit there is what it says, family by family.

Tiny random models of every family. Where edits are offered at hook_attn_out or hook_mlp_out, the sums
resid_pre + attn_out = resid_mid and resid_mid + mlp_out = resid_post hold, and adding a vector at the hook adds it to
the residual stream; where they do not hold, the edit is refused.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saekit.models import (
    by_head,
    check_edit_site,
    check_site,
    joined,
    joined_width,
    load_model,
    site_layer,
    site_width,
)

GROUPED = {"num_key_value_heads": 2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "neox": ("GPTNeoXConfig", {"use_parallel_residual": True}),
    "neox_serial": ("GPTNeoXConfig", {"use_parallel_residual": False}),
    "gemma2": ("Gemma2Config", GROUPED | {"head_dim": 4}),
    "qwen2": ("Qwen2Config", GROUPED),
    "olmo": ("OlmoConfig", GROUPED),
    "olmo2": ("Olmo2Config", GROUPED),
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}),
    "granite": ("GraniteConfig", GROUPED | {"residual_multiplier": 0.3}),
}
PARALLEL = ("neox",)
TOKENS = torch.tensor([[0, 40, 270, 7, 99, 5]])
EDITABLE = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")


@pytest.fixture(scope="module", params=["gpt2", "llama", *FAMILIES])
def family(request, save_tiny_model, tiny_shape, tmp_path_factory) -> tuple[str, Any]:
    """(name, model) of each family in turn."""
    if request.param in ("gpt2", "llama"):
        return request.param, request.getfixturevalue(f"tiny_{request.param}")
    import transformers

    kind, settings = FAMILIES[request.param]
    config = getattr(transformers, kind)(**tiny_shape | settings)
    folder = save_tiny_model(config, tmp_path_factory.mktemp("families") / request.param)
    return request.param, load_model(folder, device="cpu")


def run(model: Any, layer: int, edit: tuple[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Activations of a block by the last part of the hook's name, with ``vector`` added at one hook."""
    seen: dict[str, Tensor] = {}
    names = [f"blocks.{layer}.{n}" for n in (*EDITABLE, "hook_resid_mid")]
    hooks: list[Any] = []
    if edit is not None:
        hooks.append((f"blocks.{layer}.{edit[0]}", lambda h, hook: h + edit[1]))
    for name in names:
        if name in model.hook_dict:
            hooks.append((name, lambda h, hook, name=name: seen.__setitem__(name.split(".")[-1], h.detach().clone())))
    with torch.no_grad(), model.hooks(fwd_hooks=hooks):
        model(TOKENS, return_type=None)
    return seen


def offered(model: Any, site: str) -> bool:
    try:
        return check_edit_site(model, site) == site
    except ValueError:
        return False


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * max(1.0, float(b.abs().max())))


@pytest.mark.parametrize("layer", [0, 1])
def test_edits_are_offered_where_the_sums_hold_and_nowhere_else(family, layer):
    name, model = family
    seen = run(model, layer)
    if name in PARALLEL:
        total = seen["hook_resid_pre"] + seen["hook_attn_out"] + seen["hook_mlp_out"]
        attention = mlp = close(total, seen["hook_resid_post"])
        assert "hook_resid_mid" not in seen
    else:
        attention = close(seen["hook_resid_pre"] + seen["hook_attn_out"], seen["hook_resid_mid"])
        mlp = close(seen["hook_resid_mid"] + seen["hook_mlp_out"], seen["hook_resid_post"])
    print(f"{name}: edits offered at hook_attn_out: {attention}, at hook_mlp_out: {mlp}")
    assert offered(model, f"blocks.{layer}.hook_attn_out") == attention
    assert offered(model, f"blocks.{layer}.hook_mlp_out") == mlp
    assert offered(model, f"blocks.{layer}.hook_resid_pre") and offered(model, f"blocks.{layer}.hook_resid_post")
    if name in ("gpt2", "llama", "qwen2", "neox"):
        assert attention and mlp  # the plain families: were these refused, the test above would say nothing


@pytest.mark.parametrize("hook", EDITABLE)
def test_a_vector_added_at_a_site_is_added_to_the_residual_stream(family, hook):
    name, model = family
    layer = 0
    if not offered(model, f"blocks.{layer}.{hook}"):
        pytest.skip(f"{name}: edits at {hook} are not offered")
    vector = torch.randn(16, generator=torch.Generator().manual_seed(0))
    before, after = run(model, layer), run(model, layer, (hook, vector))
    through_mlp = after["hook_mlp_out"] - before["hook_mlp_out"]
    through_attention = after["hook_attn_out"] - before["hook_attn_out"]
    change = after["hook_resid_post"] - before["hook_resid_post"]
    if hook == "hook_attn_out":
        assert close(through_attention, vector.expand_as(through_attention))
        expected = vector + (0 if name in PARALLEL else through_mlp)
    elif hook == "hook_mlp_out":
        assert close(through_attention, torch.zeros(16))
        expected = vector
    elif hook == "hook_resid_pre":
        expected = vector + through_attention + through_mlp
        if not (offered(model, f"blocks.{layer}.hook_attn_out") and offered(model, f"blocks.{layer}.hook_mlp_out")):
            pytest.skip(f"{name}: what the block adds is not at its hooks")
    else:
        expected = vector
    assert close(change, expected.expand_as(change))
    if "hook_resid_mid" in before and hook in ("hook_attn_out", "hook_resid_pre"):
        middle = after["hook_resid_mid"] - before["hook_resid_mid"]
        assert close(middle, vector + (through_attention if hook == "hook_resid_pre" else 0) + torch.zeros_like(middle))


def test_resid_mid_is_read_but_not_edited(family):
    name, model = family
    site = "blocks.1.hook_resid_mid"
    if name in PARALLEL:
        with pytest.raises(ValueError, match=r"no hook 'blocks.1.hook_resid_mid'; the closest is 'blocks.1.hook_"):
            check_edit_site(model, site)
        return
    assert check_site(model, site) == site
    with pytest.raises(ValueError, match=r"reach the MLP only.*edit 'blocks.1.hook_attn_out' instead"):
        check_edit_site(model, site)


def test_sums_that_do_not_hold_refuse_the_edit(tiny_llama_folder, monkeypatch):
    """A block whose attn_out is scaled on its way to the residual stream, by a little or a lot (issue #1648)."""
    for scale in (0.22, 0.95):
        model = load_model(tiny_llama_folder, device="cpu")
        mixed = model.original_model.model.layers[1].self_attn
        mixed.register_forward_hook(lambda module, inputs, out, s=scale: (out[0] * s, *out[1:]))
        with pytest.raises(ValueError, match=r"is not what its block adds.*edit 'blocks.1.hook_resid_post' instead"):
            check_edit_site(model, "blocks.1.hook_attn_out")
        assert offered(model, "blocks.0.hook_attn_out") and offered(model, "blocks.1.hook_mlp_out")


def test_a_wrong_sum_is_seen_beside_one_huge_activation(tiny_llama_folder):
    """Trained models have a few dimensions hundreds of times larger than the rest; they must not hide it."""
    model = load_model(tiny_llama_folder, device="cpu")
    with torch.no_grad():
        model.original_model.get_input_embeddings().weight[:, 3] = 1e4
    model.original_model.model.layers[1].self_attn.register_forward_hook(lambda m, i, out: (out[0] * 0.5, *out[1:]))
    assert offered(model, "blocks.0.hook_attn_out")
    assert not offered(model, "blocks.1.hook_attn_out")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_offers_the_same_sites(tiny_llama_folder, tiny_gpt2_folder, dtype):
    for folder in (tiny_llama_folder, tiny_gpt2_folder):
        model = load_model(folder, device="cpu", dtype=dtype)
        for layer in (0, 1):
            assert [n for n in EDITABLE if offered(model, f"blocks.{layer}.{n}")] == list(EDITABLE)


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("blocks.1.hook_resid_pots", "no hook 'blocks.1.hook_resid_pots'; the closest is 'blocks.1.hook_resid_post'"),
        ("block.0.hook_mlp_out", "the closest is 'blocks.0.hook_mlp_out'"),
        ("", "no hook ''"),
        ("blocks.0.hook_mlp_in", r"does not fire until model.set_use_hook_mlp_in\(True\)"),
        ("blocks.0.attn.hook_result", r"does not fire until model.set_use_attn_result\(True\)"),
    ],
)
def test_a_site_that_is_not_there_or_does_not_fire(tiny_gpt2, site, words):
    for check in (check_site, check_edit_site, site_width):
        with pytest.raises(ValueError, match=words):
            check(tiny_gpt2, site)


@pytest.mark.parametrize(
    "site", ["blocks.1.attn.hook_pattern", "blocks.1.mlp.hook_post", "hook_embed", "blocks.1.hook_in"]
)
def test_sites_that_are_read_but_not_edited(tiny_gpt2, site):
    assert check_site(tiny_gpt2, site) == site
    with pytest.raises(ValueError, match=r"edits are not offered at .*; they are at blocks.\d.hook_resid_pre, "):
        check_edit_site(tiny_gpt2, site)


def test_widths_and_layers(tiny_llama):
    assert site_width(tiny_llama, "blocks.0.hook_resid_post") == 16
    assert site_width(tiny_llama, "blocks.0.mlp.hook_post") == 24
    assert site_width(tiny_llama, "blocks.0.attn.hook_k") == 4
    assert site_layer("blocks.12.attn.hook_z") == 12 and site_layer("hook_embed") is None
    with pytest.raises(ValueError, match="did not fire"):
        site_width(tiny_llama, "hook_pos_embed")


# -- found out about the model, not about what somebody has on it ------------------------------------------------------


def test_sums_are_measured_without_others_hooks(tiny_llama_folder):
    """Inside a context that edits, the sums do not hold: a wrong answer would be kept for good."""
    model = load_model(tiny_llama_folder, device="cpu")
    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_mid", lambda h, hook: 0 * h)]):
        assert offered(model, "blocks.1.hook_attn_out") and offered(model, "blocks.1.hook_mlp_out")
    assert offered(model, "blocks.1.hook_attn_out")


def test_widths_are_seen_without_others_hooks(tiny_llama_folder):
    """A hook of somebody's that fails, or watches, is not asked; it stands there afterwards, also on an error."""
    model = load_model(tiny_llama_folder, device="cpu")

    def fails(h: Tensor, hook: Any) -> None:
        raise RuntimeError("somebody's")

    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_post", fails)]):
        assert site_width(model, "blocks.1.hook_resid_post") == 16
        with pytest.raises(ValueError, match="did not fire"):
            site_width(model, "hook_pos_embed")
        with pytest.raises(RuntimeError, match="somebody's"):
            model(TOKENS)
    model(TOKENS)


def test_a_change_at_heads_is_measured_without_others_hooks(tiny_llama_folder):
    model = load_model(tiny_llama_folder, device="cpu")
    with model.hooks(fwd_hooks=[("blocks.0.hook_attn_out", lambda h, hook: 0 * h)]):
        assert offered(model, "blocks.0.attn.hook_z")
    assert offered(model, "blocks.0.attn.hook_z")


# -- heads -------------------------------------------------------------------------------------------------------------

HEADS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")


def test_edits_are_offered_at_heads(family):
    name, model = family
    offers = {kind: [offered(model, f"blocks.{layer}.{kind}") for layer in (0, 1)] for kind in HEADS}
    print(f"{name}: edits offered at {offers}")
    if name in ("gpt2", "llama", "qwen2", "neox"):
        assert all(all(each) for each in offers.values())


@pytest.mark.parametrize("kind", ["attn.hook_v", "attn.hook_z"])
def test_a_change_at_heads_reaches_attention_by_the_right_amount(family, kind):
    """Δ hook_attn_out = W_O Δz where no norm follows, and Δz = pattern · Δv, heads of a group sharing a v."""
    _, model = family
    site = f"blocks.1.{kind}"
    if not offered(model, site):
        pytest.skip(f"edits at {kind} are not offered")
    names = ["blocks.1.attn.hook_z", "blocks.1.attn.hook_pattern", "blocks.1.attn.o.hook_out"]
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return (name, lambda h, hook: seen.__setitem__(name, h.detach()))

    shift: list[Tensor] = []

    def change(h: Tensor, hook: Any) -> Tensor:
        shift.append(torch.randn(h.shape, generator=torch.Generator().manual_seed(3)))
        return h + shift[0]

    with torch.no_grad(), model.hooks(fwd_hooks=[keep(name) for name in names]):
        model(TOKENS)
    before = dict(seen)
    with torch.no_grad(), model.hooks(fwd_hooks=[(site, change), *(keep(name) for name in names)]):
        model(TOKENS)
    if kind == "attn.hook_v":
        pattern = before["blocks.1.attn.hook_pattern"]
        v = shift[0].repeat_interleave(pattern.shape[1] // shift[0].shape[2], dim=2)
        expected = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
    else:
        expected = shift[0]
    moved = seen["blocks.1.attn.hook_z"] - before["blocks.1.attn.hook_z"]
    assert (moved - expected).abs().max() <= 1e-5 * expected.abs().max()
    weight = model.blocks[1].attn.o.original_component.weight.detach()
    weight = weight if "Conv1D" in type(model.blocks[1].attn.o.original_component).__name__ else weight.T
    out = seen["blocks.1.attn.o.hook_out"] - before["blocks.1.attn.o.hook_out"]
    assert close(out, expected.flatten(2) @ weight)


@pytest.mark.parametrize("kind", HEADS)
def test_a_hook_that_changes_nothing_is_refused(tiny_llama_folder, kind):
    """A projection that calls its hooks and goes on with what it had: a change there would be said and not made."""
    model = load_model(tiny_llama_folder, device="cpu")
    component = model.get_submodule(f"blocks.1.attn.{kind[-1].replace('z', 'o')}")
    plain = component.original_component

    def deaf(x: Tensor, *_: Any, **__: Any) -> Tensor:
        component.hook_in(x)
        out = plain(x)
        component.hook_out(out)
        return out

    component.__dict__["forward"] = deaf  # the bridge hands attributes that are set to the plain module
    message = rf"at 'blocks.1.{kind}' of this model does not reach .*edit 'blocks.1.hook_resid_post' instead"
    with pytest.raises(ValueError, match=message):
        check_edit_site(model, f"blocks.1.{kind}")
    assert offered(model, f"blocks.0.{kind}")


def test_heads_joined_and_told_apart(tiny_llama):
    z, k = "blocks.0.attn.hook_z", "blocks.0.attn.hook_k"
    assert (site_width(tiny_llama, z), joined_width(tiny_llama, z), joined_width(tiny_llama, k)) == (4, 16, 8)
    assert joined_width(tiny_llama, "blocks.0.mlp.hook_post") == 24
    h = torch.randn(2, 3, 4, 4)
    x = joined(h, z)
    assert x.shape == (2, 3, 16) and torch.equal(by_head(x, tiny_llama, z), h)
    assert torch.equal(x[..., 4:8], h[:, :, 1])
    assert by_head(torch.zeros(5, 8), tiny_llama, k).shape == (5, 2, 4)
    plain = torch.zeros(2, 3, 16)
    assert joined(plain, "blocks.0.hook_resid_post") is plain and joined(plain, z) is plain
    with pytest.raises(ValueError, match=r"'blocks.0.hook_resid_post' has no heads; attn.hook_q"):
        by_head(plain, tiny_llama, "blocks.0.hook_resid_post")
