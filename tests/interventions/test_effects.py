"""effects: against the definition by hand, the sum rule of integrated gradients, and where all three must agree."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from saekit_kernels import SparseCodes

import saekit as sk
from saekit.interventions import latent_effects

LAST = "blocks.3.hook_resid_post"
SITE = "blocks.2.hook_resid_post"
PAIR = sk.load_pairs("agreement", n=1, seed=0, split="heldout")[0]
CLEAN, OTHER = PAIR.clean, PAIR.corrupt  # of the same number of tokens


def difference(model, a: str = " are", b: str = " is"):
    first, second = (int(model.to_tokens(text, prepend_bos=False)[0, 0]) for text in (a, b))
    return lambda passed, rows: passed.logits[:, -1, first] - passed.logits[:, -1, second]


def number(model, tokens, scalar) -> float:
    with torch.no_grad():
        passed = type("Passed", (), {"logits": model(tokens), "kept": {}})
        return float(scalar(passed, torch.tensor([0]))[0])


def test_exact_is_the_number_with_and_without_one_code(model, sae):
    scalar = difference(model)
    found = latent_effects(model, sae, [CLEAN], scalar, method="exact").frame()
    tokens = model.to_tokens(CLEAN)
    whole = number(model, tokens, scalar)
    for entry in found.iloc[[0, len(found) // 2, len(found) - 1]].itertuples():
        edit = sk.Edit(sae, latent=int(entry.latent), mode="ablate", tokens=[int(entry.position)])
        with sk.edited(model, edit):
            without = number(model, tokens, scalar)
        assert entry.effect == pytest.approx(whole - without, abs=2e-4)
    assert (found.position > 0).all(), "BOS is not counted"


def test_gradient_is_that_of_a_finite_difference(model, sae):
    scalar = difference(model)
    found = latent_effects(model, sae, [CLEAN], scalar, method="gradient")
    frame = found.frame()
    entry = frame.iloc[int(frame.effect.abs().argmax())]
    tokens, d = model.to_tokens(CLEAN), sae.decoder_directions[int(entry.latent)]
    slopes = []
    for step in (0.02, -0.02):
        with sk.edited(model, sk.Edit(d, strength=step, site=SITE, tokens=[int(entry.position)])):
            slopes.append(number(model, tokens, scalar))
    assert entry.effect == pytest.approx(entry.z * (slopes[0] - slopes[1]) / 0.04, rel=0.02)
    assert float(found.clean[0]) == pytest.approx(number(model, tokens, scalar), abs=1e-4)


@pytest.mark.parametrize("reference", [None, [OTHER]])
def test_integrated_effects_sum_to_the_change(model, sae, reference):
    scalar = difference(model)
    few, many = (latent_effects(model, sae, [CLEAN], scalar, reference=reference, steps=steps) for steps in (2, 40))
    gaps = []
    for found in (few, many):
        total = float(found.codes.values.sum() + found.error.sum())
        gaps.append(abs(total - float((found.clean - found.reference)[0])))
    size = abs(float((many.clean - many.reference)[0]))
    assert gaps[1] < 0.02 * size and gaps[1] < gaps[0], (gaps, size)
    if reference:  # codes and errors at those of the other prompt: what the model does there, with the tokens before it
        assert float(many.error.abs().sum()) > 0
        z = {len(each.codes.values) for each in (few, many)}
        only_there = ((many.z.values == 0) & (many.codes.values != 0)).sum()
        assert len(z) == 1 and only_there > 0, "latents that fire in the reference alone have effects"
    else:
        assert float(many.error.abs().sum()) == 0


def test_all_three_agree_where_the_number_is_linear(model):
    sae = sk.load_dictionary(f"micro/{LAST}")
    direction = torch.randn(128, generator=torch.Generator().manual_seed(0))

    def linear(passed, rows):
        return passed.kept["ln_final.hook_in"][:, -1] @ direction

    found = {
        method: latent_effects(model, sae, [CLEAN, OTHER], linear, method=method, keep="ln_final.hook_in", steps=3)
        for method in ("gradient", "integrated", "exact")
    }
    exact = found["exact"].codes.values
    assert float(exact.abs().max()) > 0.1
    for method in ("gradient", "integrated"):
        torch.testing.assert_close(found[method].codes.values, exact, atol=1e-3, rtol=1e-3)
    # By hand: z_i · (d_i · direction) at the last token, nothing elsewhere.
    z = found["exact"].z
    last = torch.zeros(z.shape, dtype=torch.bool)
    last[torch.arange(2), -1] = True
    by_hand = z.values * (sae.decoder_directions @ direction)[z.indices.long()] * last.view(-1)[z.rows]
    torch.testing.assert_close(exact, by_hand, atol=1e-3, rtol=1e-3)


def test_latents_asked_for_and_rows(model, sae):
    scalar = difference(model)
    whole = latent_effects(model, sae, [CLEAN, OTHER] * 10, scalar, method="gradient")
    assert len(whole.clean) == 20 and whole.codes.shape == (20, whole.rows.tokens.shape[1])
    torch.testing.assert_close(whole.codes[0].values, whole.codes[18].values, atol=1e-5, rtol=1e-4)
    strongest = int(whole.by_latent().latent[0])
    alone = latent_effects(model, sae, [CLEAN, OTHER] * 10, scalar, method="exact", latents=[strongest])
    assert set(alone.frame().query("effect != 0").latent) <= {strongest}
    table = alone.by_latent().set_index("latent")
    summed = alone.frame().query("latent == @strongest").effect.sum() / 20
    assert table.loc[strongest, "effect"] == pytest.approx(summed)
    assert "m(z) − m with this one code" in alone.definition


def test_the_number_of_the_prompt_is_given(model, sae):
    seen = []

    def scalar(passed, rows):
        seen.extend(rows.tolist())
        return passed.logits[:, -1, 5] * 0 + rows.to(passed.logits)

    found = latent_effects(model, sae, [CLEAN] * 18, scalar, method="gradient")
    assert found.clean.tolist() == list(range(18)) and set(seen) == set(range(18))


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"reference": ["Anna"]}, "equally long, token for token"),
        ({"reference": [OTHER, OTHER]}, "equally long, token for token"),
        ({"method": "shapley"}, "method"),
        ({"steps": 0}, "steps must be at least 1, found 0"),
        (
            {"scalar": lambda passed, rows: passed.logits[:, -1]},
            r"a number for each of the 1 rows of a pass, \[1\], found",
        ),
        ({"scalar": lambda passed, rows: 1.0}, "found float"),
        ({"scalar": lambda passed, rows: torch.ones(len(rows))}, "scalar has no gradient by the codes"),
    ],
)
def test_bad_input(model, sae, named, sentence):
    scalar = named.pop("scalar", difference(model))
    with pytest.raises(ValueError, match=sentence):
        latent_effects(model, sae, [CLEAN], scalar, **named)


def test_several_sites_at_once(model):
    """A dictionary that writes two sites: the change flows on from the first to what arrives at the second."""
    wiring = sk.Wiring.crosscoder([1, 2])
    made = sk.TopK(d_sae=64, k=4).build(wiring, {site: 128 for site in wiring.sites})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 8)
    known = sk.load_dictionary(f"micro/{SITE}").provenance
    made.provenance = dataclasses.replace(made.provenance, model_hash=known.model_hash)
    scalar = difference(model)
    found = latent_effects(model, made, [CLEAN], scalar, method="exact").frame()
    entry = found.iloc[int(found.effect.abs().argmax())]
    z = SparseCodes.from_dense(torch.zeros(1, 64).index_fill_(1, torch.tensor([int(entry.latent)]), float(entry.z)))
    empty = SparseCodes.from_dense(torch.zeros(1, 64))
    moved = {site: made.decode(empty)[site] - made.decode(z)[site] for site in made.writes}
    edits = [sk.Edit(moved[site][0].detach(), site=site, tokens=[int(entry.position)]) for site in made.writes]
    tokens = model.to_tokens(CLEAN)
    with sk.edited(model, edits):
        without = number(model, tokens, scalar)
    assert entry.effect == pytest.approx(number(model, tokens, scalar) - without, abs=1e-3)
