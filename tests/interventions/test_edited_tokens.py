"""tokens=: which positions an edit reaches, in one forward and under generation with and without a KV cache.

What generate does step by step, with a cache, must be what one forward of the final sequence does without one, with the
edit at the positions that the word or the numbers mean; the latter is run by hand.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saekit.interventions import Edit, edited

SITE, AFTER = "blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"
NEW = 6
GREEDY: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False, "stop_at_eos": False, "verbose": False}

TOKENS = [
    ("all", range(0, 14)),
    ("prompt", range(0, 9)),
    ("generated", range(9, 14)),
    (0, [0]),
    (-1, [8]),
    (11, [11]),
    ([1, 9, 13], [1, 9, 13]),
    ([-9, 3, -2], [0, 3, 7]),
    ([-40, 99], []),
    (range(8, 11), [8, 9, 10]),
]


def at(positions: Any, change: Any) -> Any:
    """A change at some positions of h [row, position, d]."""

    def changed(h: Tensor) -> Tensor:
        result, where = h.clone(), list(positions)
        result[:, where] = change(h)[:, where]
        return result

    return changed


def edit_and_change(case: Any, codes_by_hand: Any, mode: str, tokens: Any) -> tuple[Edit, Any]:
    """An edit through a dictionary and the same by hand."""
    sae = case.sae(SITE)
    latents = codes_by_hand(sae, case.seen[SITE]).amax((0, 1)).topk(8).indices.tolist()
    if mode == "add":
        push = (4 * sae.latent_max[latents, None] * sae.decoder_directions[latents]).sum(0)
        return Edit(sae, latents, strength=4.0, tokens=tokens), lambda h: h + push
    taken = Edit(sae, latents, mode="ablate", tokens=tokens)
    return taken, lambda h: h - codes_by_hand(sae, h)[..., latents] @ sae.decoder_directions[latents]


def watch(case: Any) -> tuple[list[tuple[str, Any]], dict[str, list[Tensor]]]:
    seen: dict[str, list[Tensor]] = {SITE: [], AFTER: []}
    return [(site, lambda h, hook, site=site: seen[site].append(h.clone())) for site in seen], seen


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


@pytest.mark.parametrize(("tokens", "positions"), [pair for pair in TOKENS if pair[0] != "generated"])
def test_one_forward_is_all_prompt(case: Any, tokens: Any, positions: Any, codes_by_hand: Any) -> None:
    edit, change = edit_and_change(case, codes_by_hand, "ablate", tokens)
    logits, expected = case.hand.run(case.tokens, {SITE: at([p for p in positions if p < 9], change)})
    hooks, seen = watch(case)
    with edited(case.model, edit), case.model.hooks(fwd_hooks=hooks):
        found = case.model(case.tokens)
    assert close(seen[SITE][0], expected[SITE]) and close(seen[AFTER][0], expected[AFTER]) and close(found, logits)


def test_one_forward_has_nothing_generated(gpt2: Any) -> None:
    plain = gpt2.model(gpt2.tokens)
    with edited(gpt2.model, Edit(gpt2.sae(SITE), 0, strength=99.0, tokens="generated")):
        assert torch.equal(gpt2.model(gpt2.tokens), plain)


@pytest.mark.parametrize("mode", ["add", "ablate"])
@pytest.mark.parametrize(("tokens", "positions"), TOKENS)
def test_generation_with_a_cache(case: Any, mode: str, tokens: Any, positions: Any, codes_by_hand: Any) -> None:
    edit, change = edit_and_change(case, codes_by_hand, mode, tokens)
    hooks, seen = watch(case)
    with edited(case.model, edit), case.model.hooks(fwd_hooks=hooks):
        sequence = case.model.generate(case.tokens, **GREEDY)
    assert [h.shape[1] for h in seen[SITE]] == [9, 1, 1, 1, 1, 1]  # there was a cache; the last token is not run
    logits, expected = case.hand.run(sequence[:, :-1], {SITE: at(positions, change)})
    for site in (SITE, AFTER):
        assert close(torch.cat(seen[site], dim=1), expected[site])
    assert torch.equal(logits[:, 8:].argmax(-1), sequence[:, 9:])
    untouched = case.hand.run(sequence[:, :-1])[1][SITE]
    moved = (torch.cat(seen[SITE], dim=1) - untouched).abs().amax((0, 2)) > 1e-3 * untouched.std()
    assert set(moved.nonzero()[:, 0].tolist()) <= set(positions)
    if mode == "add":
        assert moved.nonzero()[:, 0].tolist() == sorted(positions)


@pytest.mark.parametrize(("tokens", "positions"), [("all", range(14)), ([1, 9, 13], [1, 9, 13])])
def test_generation_without_a_cache(gpt2: Any, tokens: Any, positions: Any, codes_by_hand: Any) -> None:
    edit, change = edit_and_change(gpt2, codes_by_hand, "add", tokens)
    with edited(gpt2.model, edit):
        with_cache = gpt2.model.generate(gpt2.tokens, **GREEDY)
        without = gpt2.model.generate(gpt2.tokens, use_past_kv_cache=False, **GREEDY)
    assert torch.equal(with_cache, without)
    logits, _ = gpt2.hand.run(without[:, :-1], {SITE: at(positions, change)})
    assert torch.equal(logits[:, 8:].argmax(-1), without[:, 9:])


def test_the_streams_and_hugging_faces_own_generate(gpt2: Any, codes_by_hand: Any) -> None:
    edit, _ = edit_and_change(gpt2, codes_by_hand, "add", [-1, 10, 11])
    model = gpt2.model
    with edited(model, edit):
        expected = model.generate(gpt2.tokens, **GREEDY)
        stream = list(model.generate_stream(gpt2.tokens, max_tokens_per_yield=1, return_type="tokens", **GREEDY))
        theirs = model.original_model.generate(
            gpt2.tokens, max_new_tokens=NEW, do_sample=False, eos_token_id=None, pad_token_id=2
        )
    assert torch.equal(torch.cat(stream, dim=1), expected)
    assert torch.equal(theirs, expected)
    assert not torch.equal(model.generate(gpt2.tokens, **GREEDY), expected)  # the edit did something


def test_a_second_prompt_is_counted_anew(gpt2: Any, codes_by_hand: Any) -> None:
    """One context, prompts of 9 and 5 tokens and a plain forward between them."""
    edit, change = edit_and_change(gpt2, codes_by_hand, "add", "generated")
    short = gpt2.tokens[:, :5]
    hooks, seen = watch(gpt2)
    with edited(gpt2.model, edit):
        gpt2.model.generate(gpt2.tokens, **GREEDY)
        gpt2.model(gpt2.tokens)
        with gpt2.model.hooks(fwd_hooks=hooks):
            sequence = gpt2.model.generate(short, **GREEDY)
    _, expected = gpt2.hand.run(sequence[:, :-1], {SITE: at(range(5, 10), change)})
    assert close(torch.cat(seen[AFTER], dim=1), expected[AFTER])


def test_a_vector_at_positions(gpt2: Any) -> None:
    v = torch.linspace(-3, 3, 16)
    hooks, seen = watch(gpt2)
    with edited(gpt2.model, Edit(v, strength=2.0, tokens=[-1, 10], site=SITE)), gpt2.model.hooks(fwd_hooks=hooks):
        sequence = gpt2.model.generate(gpt2.tokens, **GREEDY)
    _, expected = gpt2.hand.run(sequence[:, :-1], {SITE: at([8, 10], lambda h: h + 2 * v)})
    assert close(torch.cat(seen[AFTER], dim=1), expected[AFTER])
