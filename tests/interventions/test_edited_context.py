"""The context: nothing is left behind, and what cannot be edited is refused before the model runs."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch

from saekit.dictionaries import Provenance, TopK, Wiring
from saekit.interventions import Edit, edited, editing

SITE = "blocks.0.hook_resid_post"


def hooks_on(model: Any) -> tuple[int, int, int]:
    """How many hooks stand on the bridge's hook points, on the Hugging Face model below, and on all its modules."""
    points = {id(point): point for point in model.hook_dict.values()}.values()
    modules = [model, *model.modules(), model.original_model, *model.original_model.modules()]
    return (
        sum(len(point.fwd_hooks) + len(point.bwd_hooks) for point in points),
        len(model.original_model._forward_pre_hooks),
        sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in {id(m): m for m in modules}.values()),
    )


def test_hooks_are_removed(case: Any) -> None:
    plain, before = case.model(case.tokens), hooks_on(case.model)
    edits = [Edit(case.sae(SITE), 3), Edit(torch.ones(case.seen[SITE].shape[-1]), site=SITE)]
    with edited(case.model, edits):
        assert hooks_on(case.model) > before
        assert not torch.equal(case.model(case.tokens), plain)
    assert hooks_on(case.model) == before
    assert torch.equal(case.model(case.tokens), plain)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_hooks_are_removed_on_an_exception(gpt2: Any, error: type[BaseException]) -> None:
    plain, before = gpt2.model(gpt2.tokens), hooks_on(gpt2.model)
    with pytest.raises(error), edited(gpt2.model, Edit(gpt2.sae(SITE), 3)):
        gpt2.model(gpt2.tokens)
        raise error
    assert hooks_on(gpt2.model) == before and torch.equal(gpt2.model(gpt2.tokens), plain)


def test_hooks_are_removed_when_an_edit_fails_in_the_middle(gpt2: Any) -> None:
    """A dictionary that reads what the model reaches only later: said in the forward, and nothing stays."""
    plain, before = gpt2.model(gpt2.tokens), hooks_on(gpt2.model)
    later = TopK(d_sae=4, k=1).build(
        Wiring("blocks.1.hook_mlp_out", "blocks.0.hook_mlp_out"),
        {"blocks.1.hook_mlp_out": 16, "blocks.0.hook_mlp_out": 16},
    )
    later.provenance = gpt2.sae(SITE).provenance
    message = r"reads 'blocks.1.hook_mlp_out', which the model reaches only after 'blocks.0.hook_mlp_out'"
    with pytest.raises(ValueError, match=message), edited(gpt2.model, Edit(later, 0, mode="ablate")):
        gpt2.model(gpt2.tokens)
    assert hooks_on(gpt2.model) == before and torch.equal(gpt2.model(gpt2.tokens), plain)


def test_other_peoples_hooks_stay_and_see_their_own_forwards(gpt2: Any) -> None:
    """The site's width is looked up in a forward of its own the first time; after that nothing runs unasked."""
    edit, seen = Edit(gpt2.sae(SITE), 3), []
    with edited(gpt2.model, edit):
        pass
    gpt2.model.add_hook(SITE, lambda h, hook: seen.append(tuple(h.shape)))
    try:
        with edited(gpt2.model, edit):
            gpt2.model(gpt2.tokens)
        assert seen == [(2, 9, 16)]
        gpt2.model(gpt2.tokens)
        assert len(seen) == 2
    finally:
        gpt2.model.reset_hooks()


def test_one_edit_needs_no_list_and_a_context_no_name(gpt2: Any) -> None:
    edit = Edit(gpt2.sae(SITE), 3, strength=2.0)
    with edited(gpt2.model, edit):
        one = gpt2.model(gpt2.tokens)
    with edited(gpt2.model, (edit,)) as model:
        assert torch.equal(model(gpt2.tokens), one)


# -- refusals: before the model runs, and without a hook left behind ---------------------------------------------------


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("blocks.1.hook_resid_mid", r"reach the MLP only, not the residual stream.*edit 'blocks.1.hook_attn_out'"),
        ("blocks.1.hook_resid_pots", r"no hook 'blocks.1.hook_resid_pots'; the closest is 'blocks.1.hook_resid_post'"),
        ("blocks.7.hook_resid_post", r"no hook 'blocks.7.hook_resid_post'; the closest is 'blocks.\d.hook_resid_post'"),
        (
            "blocks.1.mlp.hook_post",
            r"not offered at 'blocks.1.mlp.hook_post'; they are at blocks.1.hook_resid_pre, .*post",
        ),
        ("hook_embed", r"not offered at 'hook_embed'; they are at blocks.0.hook_resid_pre"),
    ],
)
def test_sites(case: Any, site: str, message: str) -> None:
    before = hooks_on(case.model)
    for edit in (
        Edit(case.sae(SITE), 0, site=site),
        Edit(torch.zeros(case.seen[SITE].shape[-1]), site=site),
    ):
        with pytest.raises(ValueError, match=message), edited(case.model, [Edit(case.sae(SITE), 0), edit]):
            pass
    assert hooks_on(case.model) == before


def test_widths(gpt2: Any) -> None:
    narrow = TopK(d_sae=4, k=1).build(Wiring(SITE), {SITE: 12})
    with pytest.raises(ValueError, match=r"the dictionary is 12 wide, site 'blocks.0.hook_resid_post' .* 16"):
        edited(gpt2.model, Edit(narrow, 0, mode="ablate")).__enter__()
    reads = TopK(d_sae=4, k=1).build(Wiring("blocks.0.hook_resid_pre", SITE), {"blocks.0.hook_resid_pre": 12, SITE: 16})
    with pytest.raises(ValueError, match=r"reads 12 values, site 'blocks.0.hook_resid_pre' has 16"):
        edited(gpt2.model, Edit(reads, 0, mode="ablate")).__enter__()
    for shape in ((12,), (1, 12)):
        with pytest.raises(ValueError, match=r"the vector has shape \(1.*\), site .* width 16"):
            edited(gpt2.model, Edit(torch.zeros(shape), site=SITE)).__enter__()


def test_a_dictionary_of_another_model(gpt2: Any) -> None:
    sae = gpt2.sae(SITE)
    sae.provenance = Provenance(model="another", model_hash="ab" * 32)
    message = rf"'another' \(model_hash {'ab' * 32}\).*\(model_hash {gpt2.model.model_hash}\)"
    with pytest.raises(ValueError, match=message), edited(gpt2.model, Edit(sae, 0)):
        pass
    sae.provenance = replace(gpt2.sae(SITE).provenance, processing="compatibility")
    with pytest.raises(ValueError, match="processing 'compatibility', the model is under 'none'"):
        edited(gpt2.model, Edit(sae, 0)).__enter__()


def test_a_dictionary_from_arrays_says_so_once(gpt2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its site is "x", so it is told where to stand; the warning names the line that put it there (without what checks
    shapes in tests between the two)."""
    monkeypatch.setattr(editing, "check_standing", inspect.unwrap(editing.check_standing))
    sae = gpt2.sae(SITE)
    own = sae.method.build(Wiring("x"), {"x": 16}).requires_grad_(False)
    own.load_state_dict(sae.state_dict())
    with pytest.raises(ValueError, match="no hook 'x'"):
        edited(gpt2.model, Edit(own, 0)).__enter__()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with edited(gpt2.model, [Edit(own, 0, site=SITE), Edit(own, 1, site=SITE)]) as model:
                found = model(gpt2.tokens)
    ours = [w for w in caught if "which model it was made on" in str(w.message)]
    assert len(ours) == 1 and ours[0].filename == __file__
    with edited(gpt2.model, [Edit(sae, 0), Edit(sae, 1)]) as model:
        assert torch.equal(model(gpt2.tokens), found)
