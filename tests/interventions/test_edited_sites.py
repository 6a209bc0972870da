"""Edits through dictionaries of several sites, by hand: crosscoders, cross-layer dictionaries, one for any site."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from saekit.interventions import Edit, edited

POSTS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
MLPS = ["blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"]
GREEDY: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "stop_at_eos": False, "verbose": False}


def close(found: Tensor, expected: Tensor, size: float = 2e-5) -> bool:
    return bool((found - expected).abs().max() <= size * expected.abs().max())


def adding(change: Tensor) -> Any:
    return lambda h: h + change


@pytest.mark.parametrize("before", [False, True])
def test_a_crosscoder(case: Any, several: Any, before: bool, codes_by_hand: Any) -> None:
    """z of a pass with the earlier edits and without this one; Δ = (z' − z) D_site at each site, in the real pass."""
    sae = several.crosscoder(case, POSTS)
    v = 0.5 * case.seen[POSTS[0]].std() * torch.linspace(-1, 2, case.seen[POSTS[0]].shape[-1])
    earlier = {MLPS[0]: adding(v)} if before else {}
    _, seen = case.hand.run(case.tokens, earlier)
    x = torch.cat([seen[site] for site in POSTS], dim=-1)
    z = codes_by_hand(sae, x)
    latents = z.amax((0, 1)).topk(3).indices.tolist()
    edits = [Edit(v, site=MLPS[0])] if before else []
    for mode, new in (
        ("ablate", 0 * z[..., latents]),
        ("add", z[..., latents] + 2 * sae.latent_max[latents]),
        ("clamp", (2 * sae.latent_max[latents]).expand_as(z[..., latents])),
    ):
        moves = (new - z[..., latents]) @ sae.decoder_directions[latents]
        one, two = moves.chunk(2, dim=-1)
        logits, _ = case.hand.run(case.tokens, earlier | {POSTS[0]: adding(one), POSTS[1]: adding(two)})
        with edited(case.model, [*edits, Edit(sae, latents, mode, strength=2.0)]):
            assert close(case.model(case.tokens), logits)
            assert close(case.model(case.tokens[:1]), logits[:1])  # every pass is read anew
        only, _ = case.hand.run(case.tokens, earlier | {POSTS[1]: adding(two)})
        with edited(case.model, [*edits, Edit(sae, latents, mode, strength=2.0, site=POSTS[1])]):
            assert close(case.model(case.tokens), only)


def test_two_crosscoders_in_a_row(gpt2: Any, several: Any, codes_by_hand: Any) -> None:
    """The second one's codes are those of a pass with the first one's edit."""
    one, two = several.crosscoder(gpt2, POSTS), several.crosscoder(gpt2, POSTS, seed=1)
    changes: dict[str, Any] = {}
    total = torch.zeros(())
    for sae in (one, two):
        _, seen = gpt2.hand.run(gpt2.tokens, changes)
        z = codes_by_hand(sae, torch.cat([seen[site] for site in POSTS], dim=-1))
        total = total - z @ sae.decoder_directions
        changes = {site: adding(part) for site, part in zip(POSTS, total.chunk(2, dim=-1), strict=True)}
    logits, _ = gpt2.hand.run(gpt2.tokens, changes)
    every = range(one.d_sae)
    with edited(gpt2.model, [Edit(one, every, "ablate"), Edit(two, every, "ablate")]):
        assert close(gpt2.model(gpt2.tokens), logits)


def test_a_crosscoder_at_positions_and_in_generation(gpt2: Any, several: Any, codes_by_hand: Any) -> None:
    sae = several.crosscoder(gpt2, POSTS)
    z = codes_by_hand(sae, torch.cat([gpt2.seen[site] for site in POSTS], dim=-1))
    latents = z.amax((0, 1)).topk(3).indices.tolist()
    moves = torch.zeros(2, 9, 32)
    moves[:, [1, 8]] = (-z[..., latents] @ sae.decoder_directions[latents])[:, [1, 8]]
    one, two = moves.chunk(2, dim=-1)
    logits, _ = gpt2.hand.run(gpt2.tokens, {POSTS[0]: adding(one), POSTS[1]: adding(two)})
    edit = Edit(sae, latents, "ablate", tokens=[1, -1])
    with edited(gpt2.model, edit):
        assert close(gpt2.model(gpt2.tokens), logits)
        message = r"reads blocks.0.hook_resid_post, blocks.1.hook_resid_post before it writes .*use_past_kv_cache=False"
        with pytest.raises(ValueError, match=message):
            gpt2.model.generate(gpt2.tokens, **GREEDY)
        sequence = gpt2.model.generate(gpt2.tokens, use_past_kv_cache=False, **GREEDY)
    assert sequence.shape == (2, 14) and torch.equal(sequence[:, 9], logits[:, 8].argmax(-1))


def test_a_pass_that_stops_early_is_read_to_the_end(gpt2: Any, several: Any, codes_by_hand: Any) -> None:
    """Activations of an early block of an edited model: the crosscoder's codes need the later one."""
    sae = several.crosscoder(gpt2, POSTS)
    z = codes_by_hand(sae, torch.cat([gpt2.seen[site] for site in POSTS], dim=-1))
    expected = gpt2.seen[POSTS[0]] - (z @ sae.decoder_directions)[..., :16]
    from saekit.models import forward

    with edited(gpt2.model, Edit(sae, range(sae.d_sae), "ablate")):
        found = forward(gpt2.model, gpt2.tokens, POSTS[0]).kept[POSTS[0]]
    assert close(found, expected)
    assert torch.equal(gpt2.model(gpt2.tokens), gpt2.model(gpt2.tokens))


def test_several_read_and_a_later_one_written_needs_no_second_pass(gpt2: Any, several: Any) -> None:
    """Of blocks before it: one pass, and generation with a cache."""
    from saekit.dictionaries import TopK, Wiring

    torch.manual_seed(0)
    reads = ["blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out"]
    sae = TopK(d_sae=24, k=4).build(Wiring(reads, MLPS[1]), dict.fromkeys([*reads, MLPS[1]], 16)).requires_grad_(False)
    sae.provenance = gpt2.sae(POSTS[0]).provenance
    z = sae.encode_dense({site: gpt2.seen[site] for site in reads})
    logits, _ = gpt2.hand.run(gpt2.tokens, {MLPS[1]: adding(-z @ sae.decoder_directions)})
    passes: list[int] = []
    with edited(gpt2.model, Edit(sae, range(24), "ablate")):
        with gpt2.model.hooks(fwd_hooks=[(POSTS[0], lambda h, hook: passes.append(1))]):
            assert close(gpt2.model(gpt2.tokens), logits)
        assert passes == [1]
        sequence = gpt2.model.generate(gpt2.tokens, **GREEDY)
        assert torch.equal(sequence, gpt2.model.generate(gpt2.tokens, use_past_kv_cache=False, **GREEDY))


READS = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"]


def cross_layer_by_hand(sae: Any, latents: list[int], new: Any, seen: dict[str, Tensor]) -> dict[str, Any]:
    """Changes at each site written, the codes of each layer from what arrives there in the running pass."""
    z: dict[int, Tensor] = {}

    def read(number: int) -> Any:
        def change(h: Tensor) -> Tensor:
            z[number] = (h @ sae.weights[number].T + 0.1).relu()
            return h

        return change

    def write(number: int) -> Any:
        def change(h: Tensor) -> Tensor:
            for i in range(number + 1):
                mine = [latent - i * sae.m for latent in latents if latent // sae.m == i]
                unit = sae.latent_max[i * sae.m : (i + 1) * sae.m][mine]
                h = h + (new(z[i][..., mine], unit) - z[i][..., mine]) @ sae.decoders[i, number][mine]
            return h

        return change

    changes = {site: read(i) for i, site in enumerate(READS)}
    return changes | {site: write(i) for i, site in enumerate(MLPS)}


@pytest.mark.parametrize("tokens", ["all", "generated"])
@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_a_cross_layer_dictionary(case: Any, several: Any, tokens: str) -> None:
    d = case.seen[MLPS[0]].shape[-1]
    sae = several.cross_layer(READS, MLPS, d, m=10)
    latents = [1, 4, 12, 17, 18]
    for mode, new in (
        ("ablate", lambda z, unit: 0 * z),
        ("minimum", lambda z, unit: torch.maximum(z, 1.5 * unit)),
        ("add", lambda z, unit: z + 1.5 * unit),
    ):
        with edited(case.model, Edit(sae, latents, mode, 1.5, tokens)):
            found = case.model(case.tokens)
            sequence = case.model.generate(case.tokens, **GREEDY)
        changes = cross_layer_by_hand(sae, latents, new, case.seen)
        whole = dict(changes)
        if tokens == "generated":
            assert torch.equal(found, case.model(case.tokens))
            for site in MLPS:
                whole[site] = lambda h, change=changes[site]: torch.cat([h[:, :9], change(h)[:, 9:]], dim=1)
        else:
            assert close(found, case.hand.run(case.tokens, changes)[0])
        logits, _ = case.hand.run(sequence[:, :-1], whole)
        assert torch.equal(logits[:, 8:].argmax(-1), sequence[:, 9:])


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_a_cross_layer_dictionary_is_coded_once_a_layer(gpt2: Any, several: Any, monkeypatch: Any) -> None:
    sae = several.cross_layer(READS, MLPS, 16, m=6)
    coded: list[str] = []
    plain = sae.encode_at
    sae.encode_at = lambda x, site: (coded.append(site), plain(x, site))[1]
    with edited(gpt2.model, Edit(sae, [2, 7], "ablate")):
        gpt2.model(gpt2.tokens)
    assert coded == READS


def test_orthogonal_takes_each_sites_own_rows(gpt2: Any, several: Any) -> None:
    sae = several.crosscoder(gpt2, POSTS)
    changes = {}
    for site, rows in zip(POSTS, sae.decoder_directions[[3, 5]].chunk(2, dim=1), strict=True):
        p = (rows.T @ torch.linalg.pinv(rows @ rows.T) @ rows).double()
        changes[site] = lambda h, p=p: (h.double() - h.double() @ p).float()
    logits, _ = gpt2.hand.run(gpt2.tokens, changes)
    with edited(gpt2.model, Edit(sae, [3, 5], "orthogonal")):
        assert close(gpt2.model(gpt2.tokens), logits)
        gpt2.model.generate(gpt2.tokens, **GREEDY)  # needs no codes, so no pass of its own


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_one_for_any_of_its_sites_is_told_where(gpt2: Any, several: Any) -> None:
    sae = several.each(POSTS, 16).requires_grad_(False)
    with pytest.raises(ValueError, match=r"is for each of blocks.0.hook_resid_post, .*: say which one with site="):
        Edit(sae, 0, "ablate")
    with pytest.raises(
        ValueError, match=r"does not write 'blocks.1.hook_resid_pots'; the closest .*1.hook_resid_post'"
    ):
        Edit(sae, 0, "ablate", site="blocks.1.hook_resid_pots")
    for site in POSTS:
        z = (gpt2.seen[site] @ sae.encoder_directions.T).relu()
        logits, _ = gpt2.hand.run(gpt2.tokens, {site: adding(-z @ sae.decoder_directions)})
        with edited(gpt2.model, Edit(sae, range(32), "ablate", site=site)):
            assert close(gpt2.model(gpt2.tokens), logits)


def test_a_site_that_is_not_among_several(gpt2: Any, several: Any) -> None:
    sae = several.crosscoder(gpt2, POSTS)
    with pytest.raises(
        ValueError, match=r"does not write 'blocks.0.hook_resid_pots'; .* is 'blocks.0.hook_resid_post'"
    ):
        Edit(sae, 0, site="blocks.0.hook_resid_pots")
