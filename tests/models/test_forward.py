"""forward: the one pass, against plain Hugging Face models with torch's own hooks, and against the bridge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.models import bridge, fast, forward, hooked

TOKENS = torch.randint(5, 290, (2, 9), generator=torch.Generator().manual_seed(1))
KINDS = ("hook_resid_pre", "hook_attn_out", "mlp.hook_in", "hook_mlp_out", "hook_resid_post")
PRE, POST, LAST = "blocks.1.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
Z = "blocks.0.attn.hook_z"


@pytest.fixture(params=["tiny_gpt2", "tiny_llama"])
def model(request: pytest.FixtureRequest, one_thread: None) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def plain(request: pytest.FixtureRequest, model: Any) -> Any:
    """The same model without a bridge, in float64."""
    from transformers import AutoModelForCausalLM

    folder = request.getfixturevalue(request.node.callspec.params["model"] + "_folder")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()


def block(plain: Any, layer: int) -> Any:
    return (plain.transformer.h if hasattr(plain, "transformer") else plain.model.layers)[layer]


def by_hand(plain: Any, changes: dict[int, Any], keep: dict[int, Tensor] | None = None) -> Tensor:
    """Logits with h → change(h) at the output of blocks."""

    def hook(layer: int) -> Any:
        def put(module: Any, given: Any, out: Any) -> Any:
            h = out[0] if isinstance(out, tuple) else out
            if keep is not None:
                keep[layer] = h
            new = changes.get(layer, lambda h: h)(h)
            return (new, *out[1:]) if isinstance(out, tuple) else new

        return put

    handles = [block(plain, layer).register_forward_hook(hook(layer)) for layer in (0, 1)]
    try:
        return plain(TOKENS, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


def close(found: Tensor | None, expected: Tensor, size: float = 1e-5) -> bool:
    assert found is not None and found.shape == expected.shape
    return bool((found.double() - expected.double()).abs().max() <= size * expected.abs().max())


def hooked_by_somebody(model: Any) -> Any:
    """So that the bridge must run."""
    return model.hooks(fwd_hooks=[("hook_embed", lambda h, hook: None)])


def both_ways(model: Any, *arguments: Any, **keywords: Any) -> list[Any]:
    """On the fast path, and through the bridge."""
    with hooked_by_somebody(model):
        slow = forward(model, *arguments, **keywords)
    return [forward(model, *arguments, **keywords), slow]


def test_keep_and_logits(model: Any, plain: Any) -> None:
    seen: dict[int, Tensor] = {}
    with torch.no_grad():
        expected = by_hand(plain, {}, seen)
    where = torch.rand(2, 9, generator=torch.Generator().manual_seed(0)) < 0.4
    for passed in both_ways(model, TOKENS, [LAST, POST], logits=True):
        assert list(passed.kept) == [LAST, POST] and close(passed.logits, expected)
        assert close(passed.kept[POST], seen[0]) and close(passed.kept[LAST], seen[1])
        assert not passed.logits.requires_grad and not passed.kept[POST].requires_grad
    for passed in both_ways(model, TOKENS, logits=where):
        assert passed.kept == {} and close(passed.logits, expected[where])
    for passed in both_ways(model, TOKENS, POST):
        assert passed.logits is None and close(passed.kept[POST], seen[0])
    assert forward(model, TOKENS) == ({}, None)


def test_replace_by_a_tensor_a_smaller_one_and_a_function(model: Any, plain: Any) -> None:
    h = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for value, change in (
            (h, lambda old: h.double()),
            (h[0, 0], lambda old: h[0, 0].double().expand_as(old)),
            (lambda old, kept: 2 * old + 1, lambda old: 2 * old + 1),
        ):
            for layer, site in ((0, POST), (1, LAST)):
                expected = by_hand(plain, {layer: change})
                for passed in both_ways(model, TOKENS, replace={site: value}, logits=True):
                    assert close(passed.logits, expected)
        expected = by_hand(plain, {0: lambda old: h.double(), 1: lambda old: -old})
    for passed in both_ways(model, TOKENS, replace={POST: h, LAST: lambda old, kept: -old}, logits=True):
        assert close(passed.logits, expected)


def test_what_is_kept_is_what_arrives_and_a_change_sees_it(model: Any) -> None:
    """Kept before its own replacement, behind those of earlier sites; a function is given what was kept so far."""
    clean = forward(model, TOKENS, [POST, LAST]).kept
    told: list[list[str]] = []

    def change(h: Tensor, kept: Any) -> Tensor:
        told.append(list(kept))
        return h + kept[POST]

    for passed in both_ways(model, TOKENS, [POST, LAST], replace={POST: lambda h, kept: -h, LAST: change}, logits=True):
        assert close(passed.kept[POST], clean[POST]) and not close(passed.kept[LAST], clean[LAST], 0.1)
        direct = forward(model, TOKENS, LAST, replace={POST: -clean[POST]}).kept[LAST]
        assert close(passed.kept[LAST], direct)
        again = forward(model, TOKENS, replace={LAST: direct + clean[POST]}, logits=True)
        assert close(passed.logits, again.logits)
    assert told == [[POST, LAST]] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_on_the_fast_path_is_the_bridges(model: Any, kind: str) -> None:
    site = f"blocks.0.{kind}"
    assert fast.fast_path(model, [site], {site: torch.zeros(())}) is not None
    shift = torch.linspace(-2, 1, 16)
    quick, slow = both_ways(model, TOKENS, [site], replace={site: lambda h, kept: 0.5 * h + shift}, logits=True)
    assert close(quick.logits, slow.logits) and close(quick.kept[site], slow.kept[site])
    assert not close(quick.logits, forward(model, TOKENS, logits=True).logits, 0.01)


def test_what_comes_before_a_tensor_in_the_residual_stream_is_not_run(model: Any) -> None:
    path = fast.fast_path(model, [PRE])
    assert path is not None
    ran: list[int] = []
    handles = [b.mlp.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, b in enumerate(path.blocks)]
    try:
        names = [PRE, POST, LAST, "blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out", "blocks.1.hook_in"]
        assert fast.fast_path(model, names, dict.fromkeys(names, lambda h, kept: h)) is path  # found out once
        h = forward(model, TOKENS, PRE).kept[PRE]
        ran.clear()
        for site, keep, expected in (
            (PRE, [], [1]),
            (POST, [], [1]),
            (LAST, [], []),
            (PRE, ["blocks.1.hook_mlp_out"], [1]),
            (POST, [POST], [0, 1]),  # what arrives there is wanted
            (PRE, ["blocks.0.hook_mlp_out"], [0, 1]),
            (PRE, ["blocks.1.hook_in"], [0, 1]),  # another name of the same place
        ):
            passed = forward(model, TOKENS, keep, replace={site: h}, logits=True)
            assert ran == expected, (site, keep)
            ran.clear()
            if site == PRE and keep != ["blocks.0.hook_mlp_out"]:
                assert close(passed.logits, forward(model, TOKENS, logits=True).logits)
                ran.clear()
        assert torch.equal(forward(model, TOKENS, PRE).kept[PRE], h)  # and the blocks run again
        with pytest.raises(RuntimeError):
            forward(model, TOKENS, replace={PRE: h, LAST: fails}, logits=True)
        assert torch.equal(forward(model, TOKENS, PRE).kept[PRE], h)
    finally:
        for handle in handles:
            handle.remove()


def fails(h: Tensor, kept: Any) -> Tensor:
    raise RuntimeError("a change that fails")


def loss(logits: Tensor | None) -> Tensor:
    assert logits is not None
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten())


def test_gradients_at_several_sites(model: Any, plain: Any) -> None:
    """The same as those of the plain model in float64, where an activation is shifted by a leaf of zeros."""
    shifts = [torch.zeros(2, 9, 16, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    logits = by_hand(plain, {layer: lambda h, s=shifts[layer]: h + s for layer in (0, 1)})
    expected = torch.autograd.grad(loss(logits), shifts)
    for passed in both_ways(model, TOKENS, [POST, LAST], logits=True, gradients=True):
        found = torch.autograd.grad(loss(passed.logits), [passed.kept[POST], passed.kept[LAST]])
        assert all(close(f, e, 1e-4) for f, e in zip(found, expected, strict=True))


def test_gradients_through_a_change_and_at_heads(model: Any) -> None:
    """Both ways the same; a change is part of the graph, its own parameters too; heads come as they are kept."""
    scale = torch.ones((), requires_grad=True)
    found = []
    for passed in both_ways(
        model, TOKENS, [POST, LAST], replace={POST: lambda h, kept: scale * h}, logits=True, gradients=True
    ):
        found.append(torch.autograd.grad(loss(passed.logits), [passed.kept[POST], scale]))
    assert all(close(a, b, 1e-4) for a, b in zip(*found, strict=True))
    h = forward(model, TOKENS, POST).kept[POST]
    assert close(found[0][1], (found[0][0] * h).sum(), 1e-3)  # at scale 1
    passed = forward(model, TOKENS, [Z, "blocks.0.hook_attn_out"], logits=True, gradients=True)
    at_z, at_out = torch.autograd.grad(loss(passed.logits), [passed.kept[Z], passed.kept["blocks.0.hook_attn_out"]])
    assert at_z.shape == (2, 9, 4, 4)
    step = 1e-2 * at_z / at_z.norm()
    before, after = (
        float(loss(forward(model, TOKENS, replace={Z: lambda z, kept, s=s: z + s * step}, logits=True).logits))
        for s in (-1, 1)
    )
    assert (after - before) / 2e-2 == pytest.approx(float(at_z.norm()), rel=0.05) and at_out.abs().max() > 0


@pytest.mark.parametrize("error", [False, True])
def test_parameters_and_modes_are_put_back(tiny_gpt2_folder: Any, error: bool, one_thread: None) -> None:
    model = sk.load_model(tiny_gpt2_folder, device="cpu")
    model.original_model.requires_grad_(True)
    model.train()
    modes = [module.training for module in model.modules()]
    for context in (hooked_by_somebody(model), torch.enable_grad()):  # the bridge, the fast path
        with context:
            if error:
                with pytest.raises(RuntimeError):
                    forward(model, TOKENS, POST, replace={POST: fails}, logits=True, gradients=True)
            else:
                passed = forward(model, TOKENS, POST, logits=True, gradients=True)
                loss(passed.logits).backward()
        assert all(p.requires_grad and p.grad is None for p in model.original_model.parameters())
        assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()


def test_hooks_of_others_are_respected(model: Any) -> None:
    clean = forward(model, TOKENS, LAST, logits=True)
    with model.hooks(fwd_hooks=[(POST, lambda h, hook: 2 * h)]):
        passed = forward(model, TOKENS, [POST, LAST], logits=True)
    doubled = forward(model, TOKENS, LAST, replace={POST: lambda h, kept: 2 * h}, logits=True)
    assert close(passed.logits, doubled.logits) and not close(passed.logits, clean.logits, 0.01)
    assert close(passed.kept[POST], 2 * forward(model, TOKENS, POST).kept[POST])


def test_hooked_stands_around_calls_of_others(model: Any) -> None:
    calls = []
    with hooked(model, [POST], {LAST: lambda h, kept: h + kept[POST]}, begin=calls.append) as kept:
        logits = model(TOKENS)
        assert list(kept) == [POST] and kept[POST].shape == (2, 9, 16)
        model.generate(TOKENS[:1], max_new_tokens=3, do_sample=False, stop_at_eos=False, verbose=False)
        assert kept[POST].shape == (1, 1, 16)
    assert [(call.past, call.cached) for call in calls] == [(0, False), (0, True), (9, True), (10, True)]
    assert torch.equal(calls[0].tokens, TOKENS) and calls[2].tokens.shape == (1, 1)
    expected = forward(model, TOKENS, POST, replace={LAST: lambda h, kept: h + kept[POST]}, logits=True)
    assert close(logits, expected.logits)


def test_refusals(model: Any) -> None:
    for wrong in (torch.zeros(2, 9, 12), torch.zeros(3, 9, 16), lambda h, kept: h[:, :3]):
        with pytest.raises(
            ValueError, match=r"'blocks.0.hook_resid_post' must have the shape \(2, 9, 16\) .* found \(\d"
        ):
            forward(model, TOKENS, replace={POST: wrong}, logits=True)
    with pytest.raises(ValueError, match=r"no hook 'blocks.0.hook_resid_pots'; the closest is"):
        forward(model, TOKENS, replace={"blocks.0.hook_resid_pots": torch.zeros(16)}, logits=True)
    with pytest.raises(ValueError, match="does not fire until"):
        forward(model, TOKENS, "blocks.0.hook_mlp_in")


def test_a_replacement_that_does_not_fire_is_an_error(tiny_llama: Any) -> None:
    with pytest.raises(ValueError, match=r"'hook_pos_embed' did not fire"):
        forward(tiny_llama, TOKENS, replace={"hook_pos_embed": torch.zeros(16)}, logits=True)


def test_one_hook_of_two_names_is_kept_then_replaced(model: Any) -> None:
    with hooked_by_somebody(model):
        passed = forward(model, TOKENS, "blocks.1.hook_in", replace={PRE: torch.zeros(16)}, logits=True)
    assert close(passed.kept["blocks.1.hook_in"], forward(model, TOKENS, PRE).kept[PRE])
    direct = bridge.through_bridge(model, TOKENS, [], {PRE: torch.zeros(16)}, logits=True)
    assert close(passed.logits, direct.logits)
