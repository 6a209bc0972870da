"""The modes of edits on running models, by hand on plain Hugging Face models with dense matrices; heads too.

Generation with a KV cache is compared with one forward of the final sequence, the edit made by hand at its positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.interventions import Edit, edited
from saekit.models import joined_width

SITE, AFTER = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
HEADS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")
GREEDY: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "stop_at_eos": False, "verbose": False}


def projector(v: Tensor) -> Tensor:
    """P = Vᵀ (V Vᵀ)⁺ V in float64."""
    v = v.double()
    return v.T @ torch.linalg.pinv(v @ v.T) @ v


def cap(h: Tensor, vectors: Tensor, strength: float) -> Tensor:
    h = h.double()
    for v in vectors.double():
        along = h @ v / v.norm()
        h = h - ((along - strength * v.norm()).clamp_min(0))[..., None] * v / v.norm()
    return h.float()


def by_mode(mode: str, sae: Any, latents: list[int], strength: float, dense: Any) -> Callable[[Tensor], Tensor]:
    rows, unit = sae.decoder_directions[latents], sae.latent_max[latents]

    def change(h: Tensor) -> Tensor:
        if mode == "orthogonal":
            p = projector(rows).float()
            return h - h @ p + strength * h @ p
        if mode == "project":
            return cap(h, unit[:, None] * rows, strength)
        z = dense(sae, h)[..., latents]
        new = {"clamp": (strength * unit).expand_as(z), "minimum": torch.maximum(z, strength * unit)}[mode]
        return h + (new - z) @ rows

    return change


def close(found: Tensor, expected: Tensor, size: float = 2e-5) -> bool:
    return bool((found - expected).abs().max() <= size * expected.abs().max())


MODES = [("clamp", 1.5), ("clamp", -1.0), ("minimum", 0.7), ("orthogonal", 0.0), ("orthogonal", 2.5), ("project", -0.2)]


@pytest.mark.parametrize(("mode", "strength"), MODES)
def test_one_forward(case: Any, mode: str, strength: float, codes_by_hand: Any) -> None:
    sae = case.sae(SITE)
    latents = codes_by_hand(sae, case.seen[SITE]).amax((0, 1)).topk(3).indices.tolist()
    change = by_mode(mode, sae, latents, strength, codes_by_hand)
    logits, expected = case.hand.run(case.tokens, {SITE: change})
    hooks, seen = case.watched([SITE, AFTER])
    with edited(case.model, Edit(sae, latents, mode, strength)), case.model.hooks(fwd_hooks=hooks):
        found = case.model(case.tokens)
    assert (expected[SITE] - case.seen[SITE]).abs().max() > 1e-2 * case.seen[SITE].std()
    assert close(seen[SITE], expected[SITE]) and close(seen[AFTER], expected[AFTER]) and close(found, logits)


@pytest.mark.parametrize(
    ("tokens", "positions"), [("prompt", range(9)), ("generated", range(9, 14)), ([-1, 10], [8, 10])]
)
@pytest.mark.parametrize(("mode", "strength"), MODES[::2])
def test_generation_with_a_cache(
    case: Any, mode: str, strength: float, tokens: Any, positions: Any, codes_by_hand: Any
) -> None:
    sae = case.sae(SITE)
    latents = codes_by_hand(sae, case.seen[SITE]).amax((0, 1)).topk(3).indices.tolist()
    change = by_mode(mode, sae, latents, strength, codes_by_hand)

    def there(h: Tensor) -> Tensor:
        result = h.clone()
        result[:, list(positions)] = change(h)[:, list(positions)]
        return result

    seen: list[Tensor] = []
    with (
        edited(case.model, Edit(sae, latents, mode, strength, tokens)),
        case.model.hooks(fwd_hooks=[(AFTER, lambda h, hook: seen.append(h))]),
    ):
        sequence = case.model.generate(case.tokens, **GREEDY)
    logits, expected = case.hand.run(sequence[:, :-1], {SITE: there})
    assert close(torch.cat(seen, dim=1), expected[AFTER])
    assert torch.equal(logits[:, 8:].argmax(-1), sequence[:, 9:])


@pytest.mark.parametrize("mode", ["orthogonal", "project", "add"])
def test_several_vectors(case: Any, mode: str) -> None:
    h = case.seen[SITE]
    v = h.std() * torch.randn(3, h.shape[-1], generator=torch.Generator().manual_seed(4))
    expected = {
        "add": lambda h: h + 0.5 * v.sum(0),
        "orthogonal": lambda h: h - 0.5 * h @ projector(v).float(),
        "project": lambda h: cap(h, v, 0.5),
    }[mode]
    logits, _ = case.hand.run(case.tokens, {SITE: expected})
    for source in (v, list(v)):
        with edited(case.model, Edit(source, mode=mode, strength=0.5, site=SITE)):
            assert close(case.model(case.tokens), logits)


def test_the_identity_of_orthogonal(case: Any) -> None:
    plain = case.model(case.tokens)
    with edited(case.model, Edit(case.sae(SITE), [1, 2], "orthogonal", 1.0)):
        assert torch.equal(case.model(case.tokens), plain)


def test_several_dictionaries_at_their_own_sites(case: Any, codes_by_hand: Any) -> None:
    """One edit through two: each changes its site, the later one codes what the earlier leaves."""
    sites = [SITE, "blocks.1.hook_attn_out"]
    saes = [case.sae(site, seed) for seed, site in enumerate(sites)]
    latents, changes = [], {}
    for site, sae in zip(sites, saes, strict=True):
        latents.append(codes_by_hand(sae, case.seen[site]).amax((0, 1)).topk(2).indices.tolist())
        changes[site] = by_mode("clamp", sae, latents[-1], 1.2, codes_by_hand)
    logits, _ = case.hand.run(case.tokens, changes)
    with edited(case.model, Edit(saes, latents, "clamp", 1.2)):
        assert close(case.model(case.tokens), logits)


# -- heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("tokens", ["all", [2, -1]])
def test_a_vector_at_heads(case: Any, kind: str, tokens: Any) -> None:
    """Heads side by side: as the plain model's projections give and get them."""
    site = f"blocks.0.{kind}"
    _, seen = case.hand.run(case.tokens, {site: lambda h: h})
    v = 2 * seen[site].std() * torch.linspace(-1, 2, seen[site].shape[-1])
    assert len(v) == joined_width(case.model, site)

    # Another strength at every position: one at all keys of a head would change no pattern.
    strengths = torch.zeros(9)
    where = range(9) if tokens == "all" else [2, 8]
    strengths[list(where)] = torch.linspace(1, 2, 9)[list(where)]
    logits, _ = case.hand.run(case.tokens, {site: lambda h: h + strengths[:, None] * v})
    with edited(case.model, [Edit(v, strength=float(strengths[at]), tokens=at, site=site) for at in where]):
        found = case.model(case.tokens)
    assert (logits - case.logits).abs().max() > 1e-3 * case.logits.std()
    assert close(found, logits)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("mode", ["ablate", "orthogonal"])
def test_a_dictionary_at_heads(case: Any, kind: str, mode: str, codes_by_hand: Any) -> None:
    site = f"blocks.0.{kind}"
    _, seen = case.hand.run(case.tokens, {site: lambda h: h})
    case.seen[site] = seen[site]
    sae = case.sae(site)
    latents = codes_by_hand(sae, seen[site]).amax((0, 1)).topk(12).indices.tolist()

    def change(h: Tensor) -> Tensor:
        if mode == "orthogonal":
            return h - h @ projector(sae.decoder_directions[latents[:3]]).float()
        return h - codes_by_hand(sae, h)[..., latents] @ sae.decoder_directions[latents]

    edit = Edit(sae, latents if mode == "ablate" else latents[:3], mode)
    logits, _ = case.hand.run(case.tokens, {site: change})
    with edited(case.model, edit):
        found = case.model(case.tokens)
        sequence = case.model.generate(case.tokens, **GREEDY)
    assert (logits - case.logits).abs().max() > 1e-3 * case.logits.std() and close(found, logits)
    whole, _ = case.hand.run(sequence[:, :-1], {site: change})
    assert torch.equal(whole[:, 8:].argmax(-1), sequence[:, 9:])


def test_training_a_dictionary_at_heads_and_editing_through_it(gpt2: Any) -> None:
    """The whole way: streams join heads, so does harvest's flat, and the store reads them."""
    texts = [f"the cat sat on {a} and the {b} saw it" for a in "abcdefgh" for b in ("dog", "bat")]
    site = "blocks.1.attn.hook_z"
    run = sk.train(
        gpt2.model, site, sk.TopK(d_sae=24, k=4), texts, tokens=2048, batch_size=128, callback=lambda progress: None
    )
    sae = run.dictionary
    acts = sk.activations.harvest(gpt2.model, texts, site)
    assert acts[site].ndim == 4 and acts.flat(site).shape == (int(acts.mask.sum()), 16) and sae.d_in == 16
    assert torch.equal(acts.flat(site), acts[site].flatten(2)[acts.mask])
    error = (acts.flat(site) - sae(acts.flat(site))).square().sum()
    assert error < 0.7 * (acts.flat(site) - acts.flat(site).mean(0)).square().sum()
    report = sk.evaluate(gpt2.model, sae, texts)
    assert report.recovered is not None and report.ce_recovered <= 1.01
    latent = int(sae.encode_dense(acts.flat(site)).sum(0).argmax())
    plain = gpt2.model(gpt2.tokens)
    with edited(gpt2.model, Edit(sae, latent, "clamp", 3.0)):
        assert not torch.allclose(gpt2.model(gpt2.tokens), plain)


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_a_store_of_a_dictionary_at_heads(gpt2: Any, tmp_path: Any) -> None:
    """Its firings' loss effects are those of the model with the latent ablated there."""
    site = "blocks.1.attn.hook_z"
    torch.manual_seed(0)
    sae = sk.TopK(d_sae=12, k=3).build(sk.Wiring(site), {site: 16})
    texts = ["the cat sat on the mat and", "he is in the dog house", "a man is on the bed"]
    store = sk.FeatureStore.build(
        gpt2.model, sae, texts, tmp_path / "s", top=3, random=3, per_band=1, loss_effects="all"
    )
    fired = store.sql("select * from activations where loss_effect is not null")
    tokens = store.sql("select * from tokens order by place")
    assert len(fired) > 10
    for row in fired.head(12).itertuples():
        own = tokens[tokens.row == tokens.row[row.place]]
        ids = torch.tensor(own.token.to_numpy())[None].long()
        at = int(row.place - own.place.iloc[0])
        following = int(ids[0, at + 1])
        clean = gpt2.model(ids)[0, at].log_softmax(-1)[following]
        with edited(gpt2.model, Edit(sae, int(row.latent), "ablate", tokens=range(1, ids.shape[1]))):
            without = gpt2.model(ids)[0, at].log_softmax(-1)[following]
        assert row.loss_effect == pytest.approx(float((clean - without).detach()), abs=2e-4)
