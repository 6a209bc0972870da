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

import saekit as sk
from saekit.models import check_edit_site, check_site, joined_width, load_model, site_layer, site_width

PARALLEL = ("neox",)
TOKENS = torch.tensor([[0, 40, 270, 7, 99, 5]])
EDITABLE = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")


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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("model.layers.1", "blocks.1.hook_resid_post"),
        ("transformer.h.0.mlp", "blocks.0.hook_mlp_out"),
        ("model.layers.0.self_attn", "blocks.0.hook_attn_out"),
        ("gpt_neox.layers.1.attention", "blocks.1.hook_attn_out"),
        ("layers.1", "blocks.1.hook_resid_post"),
        ("blocks.1", "blocks.1.hook_resid_post"),
    ],
)
def test_a_module_of_hugging_faces_names_the_hook_that_is_meant(tiny_llama, name, meant):
    for check in (
        check_site,
        check_edit_site,
        site_width,
        lambda m, site: sk.activations.harvest(m, ["the cat"], site),
    ):
        with pytest.raises(ValueError, match=f"no hook '{name}'; the closest is '{meant}'"):
            check(tiny_llama, name)
    with pytest.raises(ValueError, match=r"no hook 'model.layers.7'; the closest is 'blocks.1.hook_resid_post'"):
        check_site(tiny_llama, "model.layers.7")


@pytest.mark.parametrize("site", [1, [1], None, ("blocks.0.hook_resid_post", 1)])
def test_what_is_no_name_is_refused_with_the_one_that_may_be_meant(tiny_llama, tmp_path, site):
    calls = [
        lambda: sk.activations.harvest(tiny_llama, ["the cat"], site),
        lambda: sk.activations.ActivationStore.build(tiny_llama, ["the cat"], site, tmp_path / "x", tokens=2),
    ]
    meant = 0 if site is None else 1
    for call in calls:
        with pytest.raises(TypeError, match=f"such as 'blocks.{meant}.hook_resid_post', found"):
            call()


@pytest.mark.parametrize("kind", ["attn.hook_pattern", "attn.hook_attn_scores"])
def test_a_dictionary_cannot_read_what_is_no_vector_a_token(tiny_gpt2, tmp_path, kind):
    """These are as wide as the text is long."""
    site, method = f"blocks.1.{kind}", sk.TopK(d_sae=8, k=2)
    sae = method.build(sk.Wiring(site), {site: 4})
    calls = [
        lambda: joined_width(tiny_gpt2, site),
        lambda: sk.train(tiny_gpt2, site, method, ["the cat sat on the mat"], tokens=4),
        lambda: sk.evaluate(tiny_gpt2, sae, ["the cat sat on the mat"]),
        lambda: sk.FeatureStore.build(tiny_gpt2, sae, ["the cat sat on the mat"], tmp_path / "store"),
        lambda: sk.activations.ActivationStore.build(tiny_gpt2, ["the cat"], site, tmp_path / "x", tokens=2),
        lambda: sk.features_on(tiny_gpt2, sae, "the cat"),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=f"'{site}' has the shape .* reads a vector a token.*such as 'blocks.1.hook_resid_post'"
        ):
            call()
    assert sk.activations.harvest(tiny_gpt2, ["the cat"], site)[site].ndim == 4  # read it can be


VECTORS = ["hook_embed", "blocks.1.mlp.hook_pre", "blocks.1.mlp.hook_post", "blocks.1.ln1.hook_scale"]


@pytest.mark.parametrize("site", VECTORS)
def test_a_dictionary_reads_any_vector_a_token(tiny_gpt2, site):
    text = ["the cat sat on the mat"] * 4
    sae = sk.train(tiny_gpt2, site, sk.TopK(d_sae=64, k=2), text, tokens=20, batch_size=10).dictionary
    assert sk.evaluate(tiny_gpt2, sae, text).recovered is None
