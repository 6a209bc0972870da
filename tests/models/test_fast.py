"""The fast path gives the bridge's activations on every family, and steps aside where it must not be taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import saekit as sk
from saekit.models import bridge, fast, forward


def through_bridge(model, tokens, sites):
    return bridge.through_bridge(model, tokens, sites).kept


def forward_to(model, tokens, sites, lengths=None):
    return forward(model, tokens, sites, lengths=lengths).kept


NAMES = ("hook_resid_pre", "hook_resid_post", "hook_attn_out", "mlp.hook_in", "hook_mlp_out")
FAMILIES = {
    "llama": ("LlamaConfig", {"num_key_value_heads": 2}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gemma": ("GemmaConfig", {"num_key_value_heads": 2, "head_dim": 8}),
    "gemma2": ("Gemma2Config", {"num_key_value_heads": 2, "head_dim": 8}),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3Config", {"num_key_value_heads": 2, "head_dim": 8}),
    "olmo": ("OlmoConfig", {"num_key_value_heads": 4}),
    "olmo2": ("Olmo2Config", {"num_key_value_heads": 4}),
    "falcon": ("FalconConfig", {"alibi": False}),  # its fused attention, asked for patterns, gives something else
}
ALWAYS = {"hook_resid_pre", "hook_resid_post"}  # the others too, but where a family puts a norm behind them


@pytest.fixture(scope="module", params=["gpt2", *FAMILIES, "stories"])
def model(request, tiny_shape, save_tiny_model, tmp_path_factory):
    if request.param == "gpt2":
        return request.getfixturevalue("tiny_gpt2")
    if request.param == "stories":
        return sk.load_model(request.getfixturevalue("real_folder") / "stories260K", device="cpu")
    import transformers

    name, more = FAMILIES[request.param]
    config = getattr(transformers, name)(**tiny_shape, **more)
    return sk.load_model(save_tiny_model(config, tmp_path_factory.mktemp("fast") / request.param), device="cpu")


def test_equal_to_the_bridge(model, one_thread):
    tokens = torch.randint(3, min(300, model.cfg.d_vocab), (3, 20), generator=torch.Generator().manual_seed(1))
    tokens[1, 11:] = model.tokenizer.pad_token_id or 0
    layers = range(model.cfg.n_layers)
    taken = []
    for site in (f"blocks.{layer}.{name}" for layer in layers for name in NAMES):
        expected = through_bridge(model, tokens, [site])[site]
        path = fast.fast_path(model, [site])
        if path is not None:
            taken.append(site)
            found = path.read(tokens, [site])[site]
            assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max()), site
        assert torch.allclose(forward_to(model, tokens, [site])[site], expected, rtol=1e-4, atol=1e-4)
    missed = sorted(
        {site.split(".", 2)[2] for site in (f"blocks.{i}.{n}" for i in layers for n in NAMES)}
        - {site.split(".", 2)[2] for site in taken}
    )
    print("through the bridge:", missed or "none")
    assert not ALWAYS & set(missed) and len(missed) <= 2
    several = ["blocks.1.hook_resid_post", "blocks.0.hook_resid_pre", "blocks.0.mlp.hook_in"]
    found, expected = forward_to(model, tokens, several), through_bridge(model, tokens, several)
    assert list(found) == several
    assert all(torch.allclose(found[site], expected[site], rtol=1e-4, atol=1e-4) for site in several)


def test_logits_alone_are_those_of_the_bridge(model):
    tokens = torch.randint(3, min(300, model.cfg.d_vocab), (3, 20), generator=torch.Generator().manual_seed(1))
    expected = bridge.through_bridge(model, tokens, [], logits=True).logits
    at = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    assert torch.allclose(forward(model, tokens, logits=True).logits, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(forward(model, tokens, logits=at).logits, expected[at], rtol=1e-4, atol=1e-4)


def test_a_copy_that_gives_other_logits_is_not_asked_for_them(tiny_gpt2_folder: Path):
    """Nothing is kept or changed, so that no site says whether the copy is right."""
    model = sk.load_model(tiny_gpt2_folder, device="cpu")
    path = fast.fast_path(model, [SITE])
    path.plain.get_output_embeddings().register_forward_hook(lambda module, given, out: 2 * out)
    assert taken(model)
    expected = bridge.through_bridge(model, TOKENS, [], logits=True).logits
    assert torch.allclose(forward(model, TOKENS, logits=True).logits, expected, atol=1e-5)


@pytest.mark.parametrize("learns", [False, True])
def test_whether_parameters_learn_is_left_as_it_is(tiny_gpt2_folder: Path, learns):
    model = sk.load_model(tiny_gpt2_folder, device="cpu")
    model.original_model.requires_grad_(learns)
    forward(model, TOKENS, [SITE])
    assert {p.requires_grad for p in model.original_model.parameters()} == {learns}


SITE = "blocks.1.hook_resid_post"
TOKENS = torch.arange(10, 30)[None]


def taken(model, site=SITE):
    return fast.fast_path(model, [site]) is not None


def test_it_costs_no_memory_and_stops_early(tiny_gpt2):
    path = fast.fast_path(tiny_gpt2, ["blocks.0.hook_resid_post"])
    shared = {p.data_ptr() for p in tiny_gpt2.original_model.parameters()}
    assert {p.data_ptr() for p in path.plain.parameters()} <= shared
    ran = []
    handle = path.blocks[1].register_forward_hook(lambda *_: ran.append(1))
    path.read(TOKENS, ["blocks.0.hook_resid_post"])
    handle.remove()
    assert not ran


@pytest.mark.parametrize("most", [2**11, 40, 7])
def test_rows_of_like_length_run_together(tiny_gpt2, monkeypatch, one_thread, most):
    """What is wanted is the same however rows are grouped, and rows keep their places."""
    monkeypatch.setattr(fast, "POSITIONS_AT_ONCE", most)
    lengths = torch.tensor([5, 20, 1, 13, 5, 19])
    tokens = torch.randint(3, 50, (6, 22), generator=torch.Generator().manual_seed(3))
    sites = [SITE, "blocks.0.hook_mlp_out"]
    path = fast.fast_path(tiny_gpt2, sites)
    shapes = []
    handle = path.blocks[0].register_forward_pre_hook(lambda m, given: shapes.append(given[0].shape[:2]))
    found = forward_to(tiny_gpt2, tokens, sites, lengths)
    handle.remove()
    assert len(shapes) == {2**11: 1, 40: 3, 7: 6}[most]
    assert all(r == 1 or r * (p - 15) <= most for r, p in shapes), "but for what makes them even"
    assert all(r * p % 16 == 0 or p == 20 for r, p in shapes), shapes
    expected = through_bridge(tiny_gpt2, tokens, sites)
    wanted = torch.arange(22) < lengths[:, None]
    for site in sites:
        assert found[site].shape == expected[site].shape
        assert torch.allclose(found[site][wanted], expected[site][wanted], rtol=1e-4, atol=1e-5)
        assert not found[site][:, 20:].any()


def test_an_edited_model_goes_through_the_bridge(tiny_gpt2):
    before = forward_to(tiny_gpt2, TOKENS, [SITE])[SITE]
    edit = sk.Edit(torch.ones(16), mode="add", strength=3.0, site="blocks.0.hook_resid_post")
    with sk.edited(tiny_gpt2, [edit]):
        assert not taken(tiny_gpt2)
        changed = forward_to(tiny_gpt2, TOKENS, [SITE])[SITE]
    assert not torch.allclose(before, changed) and taken(tiny_gpt2)


def test_other_weights_and_other_processing(tiny_gpt2_folder: Path):
    model = sk.load_model(tiny_gpt2_folder, device="cpu")
    assert taken(model)
    with torch.no_grad():  # in place: shared
        next(p for n, p in model.original_model.named_parameters() if "wte" in n).mul_(1.5)
    assert torch.allclose(
        forward_to(model, TOKENS, [SITE])[SITE], through_bridge(model, TOKENS, [SITE])[SITE], atol=1e-4
    )
    for module in model.original_model.modules():  # other parameters in their place
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(parameter.detach() * 1.1, requires_grad=False))
    expected = through_bridge(model, TOKENS, [SITE])[SITE]
    assert torch.allclose(forward_to(model, TOKENS, [SITE])[SITE], expected, rtol=1e-4, atol=1e-4)
    model.processing = "folded"
    assert not taken(model)


def test_other_hooks_go_through_the_bridge(tiny_gpt2):
    assert not taken(tiny_gpt2, "blocks.0.attn.hook_z") and not taken(tiny_gpt2, "blocks.0.hook_resid_mid")
    found = forward_to(tiny_gpt2, TOKENS, ["blocks.0.attn.hook_z", SITE])
    assert found["blocks.0.attn.hook_z"].ndim == 4 and found[SITE].shape == (1, 20, 16)
