"""edited: at every site where edits are offered, the running model does what is worked out without saekit."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from saekit.dictionaries import Wiring
from saekit.interventions import Edit, edited
from saekit.models import check_edit_site

NAMES = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post")


def added(sae: Any, h: Tensor, latents: list[int], strength: float) -> Tensor:
    return h + sum(strength * sae.latent_max[i] * sae.decoder_directions[i] for i in latents)


def compare(case: Any, edits: list[Edit], changes: Any, site: str) -> None:
    """h' at the site, at its block's output, and the logits, to 1e-5 of the largest change at each.

    The logits get the rounding of what they are sums of besides.
    """
    logits, expected = case.hand.run(case.tokens, changes)
    block = site.rsplit(".", 1)[0] + ".hook_resid_post"
    hooks, seen = case.watched([site, block])
    with edited(case.model, edits) as model, model.hooks(fwd_hooks=hooks):
        found = model(case.tokens)
    pairs = [(seen[site], expected[site], case.seen[site]), (seen[block], expected[block], case.seen[block])]
    for got, wanted, before in [*pairs, (found, logits, case.logits)]:
        largest = (wanted - before).abs().max()
        rounding = 1e-6 * wanted.abs().max() if wanted is logits else 0.0
        assert largest > 1e-2 * before.std()  # the edit is seen at all
        assert (got - wanted).abs().max() <= 1e-5 * largest + rounding


@pytest.mark.parametrize("name", NAMES)
def test_every_site(case: Any, name: str, codes_by_hand: Any) -> None:
    """add, ablate, several latents: h' = h + (z' − z) W_dec, with z dense from the dictionary's own weights."""
    for layer in range(case.model.cfg.n_layers):
        site = f"blocks.{layer}.{name}"
        assert check_edit_site(case.model, site) == site
        sae = case.sae(site, seed=layer)
        z = codes_by_hand(sae, case.seen[site])
        strong = z.reshape(-1, sae.d_sae).amax(0).argsort(descending=True)[:3].tolist()
        silent = int(z.reshape(-1, sae.d_sae).amax(0).argmin())
        several = [strong[2], silent, strong[0]]

        def ablated(h: Tensor, sae: Any = sae, latents: list[int] = strong) -> Tensor:
            z = codes_by_hand(sae, h)
            kept = z.clone()
            kept[..., latents] = 0
            return h + (kept - z) @ sae.decoder_directions

        one, three = partial(added, sae, latents=strong[:1], strength=3.0), partial(added, sae, latents=several)
        compare(case, [Edit(sae, strong[0], strength=3.0)], {site: one}, site)
        compare(case, [Edit(sae, several, strength=-4.0)], {site: partial(three, strength=-4.0)}, site)
        compare(case, [Edit(sae, strong, mode="ablate")], {site: ablated}, site)


@pytest.mark.parametrize("name", NAMES)
def test_vectors(case: Any, name: str) -> None:
    for layer in range(case.model.cfg.n_layers):
        site = f"blocks.{layer}.{name}"
        scale = float(case.seen[site].std())
        v = scale * torch.linspace(-1, 2, case.seen[site].shape[-1])
        compare(case, [Edit(v, strength=-1.5, site=site)], {site: lambda h, v=v: h - 1.5 * v}, site)


def test_no_edit_is_the_identity(case: Any) -> None:
    plain = case.model(case.tokens)
    assert torch.allclose(plain, case.logits, atol=1e-4)
    with edited(case.model, []) as model:
        assert model is case.model and torch.equal(model(case.tokens), plain)
    site = "blocks.0.hook_resid_post"
    nowhere = Edit(case.sae(site), 0, strength=9.0, tokens=[])
    with edited(case.model, nowhere):
        assert torch.equal(case.model(case.tokens), plain)


def test_the_error_is_kept(case: Any, codes_by_hand: Any) -> None:
    """Ablating all latents takes decode(z) away but for its bias: what stays is the error, h − decode(z) + b."""
    site = "blocks.1.hook_resid_post"
    sae = case.sae(site)
    hooks, seen = case.watched([site])
    with edited(case.model, Edit(sae, range(sae.d_sae), mode="ablate")), case.model.hooks(fwd_hooks=hooks):
        case.model(case.tokens)
    h = case.seen[site]
    expected = h - codes_by_hand(sae, h) @ sae.decoder_directions
    assert (seen[site] - expected).abs().max() <= 1e-5 * (expected - h).abs().max()


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("nested", [False, True])
def test_edits_at_one_site_compose_in_order(case: Any, order: int, nested: bool, codes_by_hand: Any) -> None:
    """Each on what the former left: after a shift, other latents fire, and those are what ablate takes away."""
    site = "blocks.0.hook_resid_post"
    sae, h = case.sae(site), case.seen[site]
    v = 2 * h.std() * torch.linspace(-1, 1, h.shape[-1])
    latents = codes_by_hand(sae, h + v).amax((0, 1)).topk(2).indices.tolist()

    def ablated(h: Tensor) -> Tensor:
        z = codes_by_hand(sae, h)
        return h - z[..., latents] @ sae.decoder_directions[latents]

    assert (ablated(h + v) - (ablated(h) + v)).abs().max() > 1e-2 * h.std()  # the order matters
    edits = [Edit(v, site=site), Edit(sae, latents, mode="ablate")][::order]
    change = (lambda h: ablated(h + v)) if order == 1 else (lambda h: ablated(h) + v)
    if not nested:
        compare(case, edits, {site: change}, site)
        return
    with edited(case.model, edits[0]):
        compare(case, edits[1:], {site: change}, site)
        _, one = case.hand.run(case.tokens, {site: (lambda h: h + v) if order == 1 else ablated})
        hooks, seen = case.watched([site])
        with case.model.hooks(fwd_hooks=hooks):
            case.model(case.tokens)  # the inner context is over, the outer is not
        assert torch.allclose(seen[site], one[site], atol=1e-4)


def test_edits_at_several_sites_meet_the_edited_stream(case: Any, codes_by_hand: Any) -> None:
    """The later site codes h as it arrives in this forward, whatever the order in the list."""
    first, last = "blocks.0.hook_mlp_out", "blocks.1.hook_attn_out"
    one, two = case.sae(first), case.sae(last)
    h = case.seen[first]
    latent = int(codes_by_hand(one, h).amax((0, 1)).argmax())

    def ablated(h: Tensor) -> Tensor:
        return h - codes_by_hand(two, h) @ two.decoder_directions

    changes = {first: lambda h: h + 5 * one.latent_max[latent] * one.decoder_directions[latent], last: ablated}
    edits = [Edit(two, range(two.d_sae), mode="ablate"), Edit(one, latent, strength=5.0)]
    compare(case, edits, changes, last)


def test_a_transcoder_reads_one_site_and_changes_another(case: Any, codes_by_hand: Any) -> None:
    """z = encode(x) of the site read, as edits before it and at it leave it; h' = h − z_i d_i at the site written."""
    first, read, write = "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out", "blocks.1.hook_attn_out"
    sae, d = case.sae(read), case.seen[read].shape[-1]
    v = case.seen[first].std() * torch.linspace(-2, 2, d)
    latents = codes_by_hand(sae, case.seen[read]).amax((0, 1)).topk(4).indices.tolist()
    transcoder = sae.method.build(Wiring(read, write), {read: d, write: d}).requires_grad_(False)
    transcoder.load_state_dict(sae.state_dict())
    transcoder.encoder_bias.sub_(sae.encoder_directions @ sae.decoder_bias)  # a transcoder does not subtract b_dec
    transcoder.provenance = sae.provenance
    seen: dict[str, Tensor] = {}

    def moved_and_kept(h: Tensor) -> Tensor:
        seen["x"] = h + v
        return h + v

    def ablated(h: Tensor) -> Tensor:
        return h - codes_by_hand(sae, seen["x"])[..., latents] @ sae.decoder_directions[latents]

    edits = [Edit(transcoder, latents, mode="ablate"), Edit(v, site=first), Edit(v, site=read)]
    compare(case, edits, {first: lambda h: h + v, read: moved_and_kept, write: ablated}, write)
