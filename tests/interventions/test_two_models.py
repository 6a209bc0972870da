"""Edits and splices of two models through one dictionary, by hand: each gets h' at its own sites, with the codes of
both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.dictionaries import Provenance, TopK, Wiring
from saekit.interventions import Edit, edited, spliced

POSTS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
MLP, D = "blocks.0.hook_mlp_out", 16
GREEDY: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "stop_at_eos": False, "verbose": False}


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 2e-5 * expected.abs().max())


def adding(move: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda h: h + move


class Pair:
    """Two models, the same by hand, and what they do with the same tokens."""

    def __init__(self, models: dict[str, Any], hands: dict[str, Any], tokens: Tensor) -> None:
        self.models, self.hands, self.tokens = models, hands, tokens
        runs = {name: hand.run(tokens) for name, hand in hands.items()}
        self.logits = {name: logits for name, (logits, _) in runs.items()}
        self.seen = {f"{name}:{site}": h for name, (_, seen) in runs.items() for site, h in seen.items()}

    def sae(self, reads: list[str], writes: list[str] | None = None, seed: int = 0) -> Any:
        """A random TopK dictionary over sites of both."""
        wiring = Wiring(reads, writes)
        sae: Any = TopK(d_sae=40, k=5).build(wiring, dict.fromkeys(wiring.sites, D)).requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for parameter in (sae.encoder_directions, sae.decoder_directions, sae.encoder_bias, sae.decoder_bias):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        sae.latent_max.copy_(1 + torch.rand(40, generator=generator))
        described = {key: {n: getattr(m, key) for n, m in self.models.items()} for key in ("model_name", "model_hash")}
        sae.provenance = Provenance(model=described["model_name"], model_hash=described["model_hash"])
        return sae

    def codes(self, sae: Any, seen: dict[str, Tensor] | None = None) -> Tensor:
        """z [row, position, latent] from its equation, of what is seen, else of both unedited."""
        x = torch.cat([(self.seen | (seen or {}))[site] for site in sae.reads], dim=-1)
        if sae.wiring.same:
            x = x - sae.decoder_bias
        u = x @ sae.encoder_directions.T + sae.encoder_bias
        kth = u.sort(dim=-1, descending=True).values[..., 4:5]
        return torch.where(u >= kth, u, 0).clamp_min(0)


@pytest.fixture(scope="module")
def pair(cases: Any, tiny_gpt2: Any, tiny_copy: Any, tiny_copy_folder: Any) -> Pair:
    gpt2 = cases("gpt2")
    return Pair({"a": tiny_gpt2, "b": tiny_copy}, {"a": gpt2.hand, "b": type(gpt2.hand)(tiny_copy_folder)}, gpt2.tokens)


def test_a_crosscoder_edits_whichever_is_called(pair: Pair) -> None:
    """h' = h + (z' − z) D of the model's own site; the other's edit is not in it."""
    sae = pair.sae([f"{name}:{POSTS[0]}" for name in "ab"])
    z = pair.codes(sae)
    latents = z.amax((0, 1)).topk(3).indices.tolist()
    for mode, new in (("ablate", 0.0), ("add", z[..., latents] + 2 * sae.latent_max[latents])):
        moves = ((new - z[..., latents]) @ sae.decoder_directions[latents]).chunk(2, dim=-1)
        with edited(pair.models, Edit(sae, latents, mode, 2)):
            found = {name: model(pair.tokens) for name, model in pair.models.items()}
        for (name, logits), move in zip(found.items(), moves, strict=True):
            expected, _ = pair.hands[name].run(pair.tokens, {POSTS[0]: adding(move)})
            assert close(logits, expected) and not close(logits, pair.logits[name])
    assert not close(pair.logits["a"], pair.logits["b"])
    for name, model in pair.models.items():  # outside of the block they are themselves
        assert torch.allclose(model(pair.tokens), pair.logits[name], atol=1e-4)


def test_a_call_is_a_pass_of_each(pair: Pair) -> None:
    """Where a model has one site, it is read and changed in one pass."""
    sae, passes = pair.sae([f"{name}:{POSTS[0]}" for name in "ab"]), list[str]()
    handles = [
        model.original_model.register_forward_pre_hook(lambda module, given, name=name: passes.append(name))
        for name, model in pair.models.items()
    ]
    with edited(pair.models, Edit(sae, 1)):
        pair.models["b"](pair.tokens)
    for handle in handles:
        handle.remove()
    assert passes == ["b", "a"]


def test_several_sites_of_each(pair: Pair) -> None:
    """Codes need a later site of the same model too, so that it reads ahead, with the edits before it in the list; of
    the other what it has without any."""
    sites = [f"{name}:{site}" for name in "ab" for site in POSTS]
    sae, v = pair.sae(sites), torch.linspace(-1, 2, D)
    edits = [Edit(v, site=f"a:{MLP}"), Edit(v, site=f"b:{MLP}"), Edit(sae, [*range(40)], "ablate")]
    with edited(pair.models, edits):
        found = {name: model(pair.tokens) for name, model in pair.models.items()}
    for number, name in enumerate("ab"):
        _, seen = pair.hands[name].run(pair.tokens, {MLP: adding(v)})
        z = pair.codes(sae, {f"{name}:{site}": h for site, h in seen.items()})
        moves = dict(zip(POSTS, (-z @ sae.decoder_directions).chunk(4, dim=-1)[2 * number :], strict=False))
        changes = {MLP: adding(v)} | {site: adding(move) for site, move in moves.items()}
        assert close(found[name], pair.hands[name].run(pair.tokens, changes)[0])


def test_one_reads_and_the_other_is_written(pair: Pair) -> None:
    """A transcoder from a model into its copy: only the copy changes, whichever of the two sites lies deeper."""
    sae = pair.sae([f"a:{POSTS[1]}"], [f"b:{POSTS[0]}"])
    x_hat = pair.codes(sae) @ sae.decoder_directions + sae.decoder_bias
    expected, _ = pair.hands["b"].run(pair.tokens, {POSTS[0]: lambda h: x_hat})
    with spliced(pair.models, sae) as models:
        assert close(models["b"](pair.tokens), expected)
        assert torch.allclose(models["a"](pair.tokens), pair.logits["a"], atol=1e-4)
        models["a"].generate(pair.tokens, **GREEDY)  # nothing of it is changed, so that it may use its cache


def test_a_splice_of_both(pair: Pair) -> None:
    """BOS and padding keep their own, and the other model gets the attention mask of the call."""
    sae = pair.sae([f"{name}:{POSTS[0]}" for name in "ab"])
    tokens, mask = pair.tokens.clone(), torch.ones_like(pair.tokens)
    tokens[:, 0], tokens[1, :3], mask[1, :2] = 0, torch.tensor([2, 2, 0]), 0
    counted = mask.bool()
    counted[0, 0] = counted[1, 2] = False
    kept: dict[str, Tensor] = {}
    hooks = {n: [(POSTS[0], lambda h, hook, n=n: kept.setdefault(f"{n}:{POSTS[0]}", h.clone()))] for n in "ab"}
    for name, model in pair.models.items():
        with model.hooks(fwd_hooks=hooks[name]):
            model(tokens, attention_mask=mask)
    x_hat = (pair.codes(sae, kept) @ sae.decoder_directions + sae.decoder_bias).chunk(2, dim=-1)
    for number, (name, model) in enumerate(pair.models.items()):
        left: list[Tensor] = []
        with spliced(pair.models, sae), model.hooks(fwd_hooks=[(POSTS[0], lambda h, hook, left=left: left.append(h))]):
            model(tokens, attention_mask=mask)
        expected = torch.where(counted[..., None], x_hat[number], kept[f"{name}:{POSTS[0]}"])
        assert close(left[0], expected)
    with spliced(pair.models, sae, error=True):
        assert torch.allclose(pair.models["b"](pair.tokens), pair.logits["b"], atol=1e-4)


def test_generation(pair: Pair) -> None:
    """Without a cache each step is a pass of both; with one only what needs no codes goes."""
    sae = pair.sae([f"{name}:{POSTS[0]}" for name in "ab"])
    with edited(pair.models, Edit(sae, [1, 2], "orthogonal")):
        pair.models["a"].generate(pair.tokens, **GREEDY)
    with spliced(pair.models, sae) as models:
        with pytest.raises(ValueError, match=f"reads b:{POSTS[0]} before it writes .*use_past_kv_cache=False"):
            models["a"].generate(pair.tokens, **GREEDY)
        made = models["a"].generate(pair.tokens, **GREEDY, use_past_kv_cache=False)
        assert torch.equal(models["a"](made[:, :-1])[:, -1].argmax(-1), made[:, -1])
        embedded = models["a"].original_model.get_input_embeddings()(pair.tokens)
        with pytest.raises(ValueError, match="several models read the same tokens, and this call has none"):
            models["a"].original_model(inputs_embeds=embedded)


def test_what_is_refused(pair: Pair, tiny_llama: Any) -> None:
    sae = pair.sae([f"{name}:{POSTS[0]}" for name in "ab"])
    edit, swapped = Edit(sae, 1), {"a": pair.models["b"], "b": pair.models["a"]}
    refused: list[tuple[Any, str]] = [
        (pair.models["a"], "made on the models a, b together: it does not run on one .* by name, {'a': …, 'b': …}"),
        ({"a": pair.models["a"]}, "together, and 'b' is not among those given, a"),
        (pair.models | {"c": tiny_llama}, "made on no model 'c'; the closest is '[ab]' .of a, b"),
        (swapped, f"model_hash {pair.models['a'].model_hash}., as its model 'a', this model is"),
    ]
    for models, message in refused:
        for inside in (lambda m=models: edited(m, edit), lambda m=models: spliced(m, sae)):
            with pytest.raises(ValueError, match=message), inside():
                pass
    single = sk.TopK(d_sae=8, k=2).build(Wiring(POSTS[0]), {POSTS[0]: D})
    with (
        pytest.raises(ValueError, match="made on one model: give it alone, found a, b by name"),
        spliced(pair.models, single),
    ):
        pass
    wide = TopK(d_sae=8, k=2).build(
        Wiring([f"a:{POSTS[0]}", f"b:{POSTS[0]}"]), {f"a:{POSTS[0]}": D, f"b:{POSTS[0]}": 24}
    )
    with pytest.raises(ValueError, match=f"24 wide, site 'b:{POSTS[0]}' of this model 16"), spliced(pair.models, wide):
        pass


def test_read_after_it_is_written(pair: Pair) -> None:
    """A transcoder backwards can never run: it is refused before the model is called."""
    back = TopK(d_sae=8, k=2).build(Wiring(POSTS[1], POSTS[0]), dict.fromkeys(POSTS, D))
    model, message = pair.models["a"], f"reads '{POSTS[1]}', which the model reaches only after '{POSTS[0]}'"
    back.latent_max.fill_(1)
    with pytest.raises(ValueError, match=message), spliced(model, back):
        pass
    with pytest.raises(ValueError, match=message), edited(model, Edit(back, 1)):
        pass
