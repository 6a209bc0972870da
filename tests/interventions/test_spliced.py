"""spliced: x̂ in the place of h, by hand on plain Hugging Face models; what keeps its own activation; gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.dictionaries import Provenance
from saekit.interventions import edited, spliced

POSTS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
MLPS = ["blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out"]
READS = ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"]
GREEDY: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "stop_at_eos": False, "verbose": False}


def close(found: Tensor, expected: Tensor, size: float = 2e-5) -> bool:
    return bool((found - expected).abs().max() <= size * expected.abs().max())


def reconstruction(sae: Any, dense: Any) -> Any:
    return lambda h: dense(sae, h) @ sae.decoder_directions + sae.decoder_bias


@pytest.mark.parametrize("site", [*POSTS, *MLPS, "blocks.0.hook_attn_out", READS[1]])
def test_one_dictionary(case: Any, site: str, codes_by_hand: Any) -> None:
    """In a forward, and in generation with a cache, which is what one forward of the whole sequence is."""
    sae = case.sae(site)
    x_hat = reconstruction(sae, codes_by_hand)
    logits, _ = case.hand.run(case.tokens, {site: x_hat})
    assert not close(logits, case.logits, 0.01)
    with sk.spliced(case.model, sae) as model:
        assert close(model(case.tokens), logits)
        sequence = model.generate(case.tokens, **GREEDY)
    whole, _ = case.hand.run(sequence[:, :-1], {site: x_hat})
    assert torch.equal(whole[:, 8:].argmax(-1), sequence[:, 9:])
    assert torch.allclose(case.model(case.tokens), case.logits, atol=1e-4)


def test_bos_and_padding_keep_their_own(case: Any, codes_by_hand: Any) -> None:
    site = POSTS[0]
    sae, x_hat = case.sae(site), reconstruction(case.sae(site), codes_by_hand)
    tokenizer = case.model.tokenizer
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    tokens = case.tokens.clone()
    tokens[:, 0] = bos
    tokens[1, 6:] = pad
    counted = torch.ones(2, 9, dtype=torch.bool)
    counted[:, 0] = counted[1, 6:] = False
    changes = {site: lambda h: torch.where(counted[..., None], x_hat(h), h)}
    logits, _ = case.hand.run(tokens, changes)
    with spliced(case.model, sae):
        assert close(case.model(tokens), logits)
    tokens[0, 4] = bos  # in the middle it is a token like others
    logits, _ = case.hand.run(tokens, changes)
    with spliced(case.model, sae):
        assert close(case.model(tokens), logits)


def test_padding_on_the_left_and_an_attention_mask(gpt2: Any) -> None:
    """BOS is where the row begins behind its padding; what the mask leaves out keeps its own."""
    sae = gpt2.sae(POSTS[0])
    seen: list[Tensor] = []
    tokens = gpt2.tokens.clone()
    tokens[0, :3] = torch.tensor([2, 2, 0])  # pad, pad, BOS
    mask = torch.ones_like(tokens)
    mask[0, :2] = 0
    keep = [(POSTS[0], lambda h, hook: seen.append(h.clone()))]
    for keywords, kept in (({}, [0, 1, 2]), ({"attention_mask": mask}, [0, 1, 2])):
        seen.clear()
        with gpt2.model.hooks(fwd_hooks=keep), spliced(gpt2.model, sae), gpt2.model.hooks(fwd_hooks=keep):
            gpt2.model(tokens, **keywords)
        before, after = seen
        untouched = (before == after).all(-1)
        assert untouched[0].nonzero()[:, 0].tolist() == kept and not untouched[1].any()
    with spliced(gpt2.model, sae), pytest.raises(ValueError, match="only tokens show: call the model with tokens"):
        gpt2.model.original_model(inputs_embeds=torch.zeros(1, 3, 16))


def test_several_of_different_sites(case: Any, codes_by_hand: Any) -> None:
    """The later one codes what the earlier one leaves."""
    sites = [MLPS[0], "blocks.1.hook_attn_out", POSTS[1]]
    saes = [case.sae(site, seed) for seed, site in enumerate(sites)]
    logits, _ = case.hand.run(
        case.tokens, {site: reconstruction(sae, codes_by_hand) for site, sae in zip(sites, saes, strict=True)}
    )
    for order in (1, -1):
        with spliced(case.model, saes[::order]):
            assert close(case.model(case.tokens), logits)


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_a_transcoder_a_crosscoder_and_a_cross_layer_dictionary(case: Any, several: Any, codes_by_hand: Any) -> None:
    d = case.seen[POSTS[0]].shape[-1]
    sae: Any = case.sae(READS[1])
    sae.decoder_bias.zero_()  # which a transcoder does not take from what it reads
    transcoder = sae.method.build(sk.Wiring(READS[1], MLPS[1]), {READS[1]: d, MLPS[1]: d}).requires_grad_(False)
    transcoder.load_state_dict(sae.state_dict())
    transcoder.provenance = sae.provenance
    x_hat = reconstruction(sae, codes_by_hand)
    read: dict[str, Tensor] = {}
    changes = {READS[1]: lambda h: read.setdefault("x", h), MLPS[1]: lambda h: x_hat(read["x"])}
    with spliced(case.model, transcoder):
        assert close(case.model(case.tokens), case.hand.run(case.tokens, changes)[0])

    cross = several.crosscoder(case, POSTS)
    whole = reconstruction(cross, codes_by_hand)(torch.cat([case.seen[site] for site in POSTS], dim=-1))
    parts = dict(zip(POSTS, whole.chunk(2, dim=-1), strict=True))
    with spliced(case.model, cross):
        assert close(
            case.model(case.tokens), case.hand.run(case.tokens, {s: lambda h, s=s: parts[s] for s in POSTS})[0]
        )
        with pytest.raises(ValueError, match="generation with a cache has no place"):
            case.model.generate(case.tokens, **GREEDY)

    layers = several.cross_layer(READS, MLPS, d, m=10)
    z: dict[int, Tensor] = {}

    def coded(number: int) -> Any:
        def change(h: Tensor) -> Tensor:
            z[number] = (h @ layers.weights[number].T + 0.1).relu()
            return h

        return change

    def written(number: int) -> Any:
        return lambda h: sum(z[i] @ layers.decoders[i, number] for i in range(number + 1)) + layers.biases[number]

    changes = {site: coded(i) for i, site in enumerate(READS)} | {site: written(i) for i, site in enumerate(MLPS)}
    with spliced(case.model, layers):
        assert close(case.model(case.tokens), case.hand.run(case.tokens, changes)[0])
        sequence = case.model.generate(case.tokens, **GREEDY)
    assert torch.equal(case.hand.run(sequence[:, :-1], changes)[0][:, 8:].argmax(-1), sequence[:, 9:])


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_one_for_any_of_its_sites_stands_at_all(gpt2: Any, several: Any) -> None:
    sae = several.each(POSTS, 16).requires_grad_(False)
    x_hat = {site: lambda h: (h @ sae.encoder_directions.T).relu() @ sae.decoder_directions for site in POSTS}
    with spliced(gpt2.model, sae):
        assert close(gpt2.model(gpt2.tokens), gpt2.hand.run(gpt2.tokens, x_hat)[0])


def test_at_heads(gpt2: Any, codes_by_hand: Any) -> None:
    site = "blocks.0.attn.hook_z"
    _, gpt2.seen[site] = 0, gpt2.hand.run(gpt2.tokens, {site: lambda h: h})[1][site]
    sae = gpt2.sae(site)
    logits, _ = gpt2.hand.run(gpt2.tokens, {site: reconstruction(sae, codes_by_hand)})
    with spliced(gpt2.model, sae):
        assert close(gpt2.model(gpt2.tokens), logits)


@pytest.mark.parametrize("way", ["x_hat", "error"])
def test_gradients_flow_through_the_dictionary(case: Any, way: str, codes_by_hand: Any) -> None:
    """error=True: the model's own values, bit for bit; ∂loss/∂decoder_bias is ∂loss/∂h summed over tokens, of the pass
    that is spliced so (float64, by hand: a shift of x̂, or of h)."""
    from transformers import AutoModelForCausalLM

    site = POSTS[0]
    sae: Any = case.sae(site)
    sae.requires_grad_(True)
    plain = case.model(case.tokens)
    with spliced(case.model, sae, error=way == "error"):
        logits = case.model(case.tokens)
    if way == "error":
        assert torch.equal(logits, plain)
    found = torch.autograd.grad(logits.log_softmax(-1)[..., 7].sum(), [sae.decoder_bias, sae.decoder_directions])
    assert all(p.grad is None for p in case.model.original_model.parameters())
    hand = AutoModelForCausalLM.from_pretrained(
        case.folder, dtype=torch.float64, attn_implementation="eager", local_files_only=True
    ).eval()
    z = codes_by_hand(sae, case.seen[site]).double().detach()
    x_hat = z @ sae.decoder_directions.double().detach() + sae.decoder_bias.double().detach()
    leaf = (case.seen[site].double() if way == "error" else x_hat).clone().requires_grad_()
    block = (hand.transformer.h if hasattr(hand, "transformer") else hand.model.layers)[0]
    block.register_forward_hook(lambda m, given, out: (leaf, *out[1:]) if isinstance(out, tuple) else leaf)
    (g,) = torch.autograd.grad(hand(case.tokens).logits.log_softmax(-1)[..., 7].sum(), leaf)
    # b enters u = (h − b) W_encᵀ too: ∂/∂b = Σ g − Σ_active (g · d_i) w_i
    active = (z != 0).double() * (g @ sae.decoder_directions.double().detach().T)
    bias = g.sum((0, 1)) - (active @ sae.encoder_directions.double().detach()).sum((0, 1))
    assert close(found[0].double(), bias, 1e-3)
    assert close(found[1].double(), torch.einsum("bpf,bpd->fd", z, g), 1e-3)


def test_the_one_pass_inside_a_splice(gpt2: Any) -> None:
    """As end-to-end training uses it: the loss's gradient reaches the dictionary, and activations that are kept."""
    sae: Any = gpt2.sae(POSTS[0])
    sae.requires_grad_(True)
    with spliced(gpt2.model, sae):
        passed = sk.models.forward(gpt2.model, gpt2.tokens, POSTS, logits=True, gradients=True)
    assert passed.logits is not None
    kept = [passed.kept[site] for site in POSTS]
    bias, *found = torch.autograd.grad(passed.logits.square().sum(), [sae.decoder_bias, *kept])
    assert bias.abs().max() > 0 and all(g.abs().max() > 0 for g in found)
    assert close(passed.kept[POSTS[0]].detach(), sae(gpt2.seen[POSTS[0]]).detach(), 1e-4)


def test_refusals(gpt2: Any, several: Any) -> None:
    sae = gpt2.sae(POSTS[0])
    with pytest.raises(ValueError, match=r"two of the dictionaries write .blocks.0.hook_resid_post"):
        spliced(gpt2.model, [sae, gpt2.sae(POSTS[0], seed=1)]).__enter__()
    stranger = gpt2.sae(POSTS[0])
    stranger.provenance = Provenance(model="another", model_hash="ab" * 32)
    with pytest.raises(ValueError, match=r"'another' \(model_hash abab"):
        spliced(gpt2.model, stranger).__enter__()
    narrow = sk.TopK(d_sae=4, k=1).build(sk.Wiring(POSTS[0]), {POSTS[0]: 12})
    with pytest.raises(ValueError, match=r"the dictionary is 12 wide, site 'blocks.0.hook_resid_post' .* 16"):
        spliced(gpt2.model, narrow).__enter__()
    middle = sk.TopK(d_sae=4, k=1).build(sk.Wiring("blocks.0.hook_resid_mid"), {"blocks.0.hook_resid_mid": 16})
    with pytest.raises(ValueError, match="would reach the MLP only"):
        spliced(gpt2.model, middle).__enter__()
    sae.provenance = replace(sae.provenance, processing="compatibility")
    with pytest.raises(ValueError, match="processing 'compatibility', the model is under 'none'"):
        spliced(gpt2.model, sae).__enter__()


def test_it_goes_with_edits(gpt2: Any, codes_by_hand: Any) -> None:
    """An edit at an earlier site is seen by the splice; nothing stays."""
    plain, sae = gpt2.model(gpt2.tokens), gpt2.sae(POSTS[1])
    v = gpt2.seen[MLPS[0]].std() * torch.linspace(-1, 2, 16)
    changes = {MLPS[0]: lambda h: h + v, POSTS[1]: reconstruction(sae, codes_by_hand)}
    logits, _ = gpt2.hand.run(gpt2.tokens, changes)
    with edited(gpt2.model, sk.Edit(v, site=MLPS[0])), spliced(gpt2.model, sae):
        assert close(gpt2.model(gpt2.tokens), logits)
    assert torch.equal(gpt2.model(gpt2.tokens), plain)
