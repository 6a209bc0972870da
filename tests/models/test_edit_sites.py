"""What is found out about sites is about the model alone; edits at heads reach it by the right amount."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saekit.models import by_head, check_edit_site, joined, joined_width, load_model, site_width

TOKENS = torch.tensor([[0, 40, 270, 7, 99, 5]])


def offered(model: Any, site: str) -> bool:
    try:
        return check_edit_site(model, site) == site
    except ValueError:
        return False


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5 * max(1.0, float(b.abs().max())))


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
