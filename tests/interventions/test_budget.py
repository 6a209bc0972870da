"""cost and strength_at: by hand beside plain probabilities; the strength found costs what was asked for."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.interventions import budget, cost, strength_at

SITE = "blocks.2.hook_resid_post"
TEXT = ["Anna went home.", "When Anna and Peter went to the park, Anna gave the book to Peter."]


def by_hand(model, edits) -> float:
    """Row after row without padding, in float64."""
    found = []
    for text in TEXT:
        tokens = model.to_tokens(text)
        with torch.no_grad():
            p = model(tokens)[0].double().log_softmax(-1)
            with sk.edited(model, edits):
                q = model(tokens)[0].double().log_softmax(-1)
        found.append((p.exp() * (p - q)).sum(-1)[1:])  # BOS is not counted
    return float(torch.cat(found).mean())


def test_the_cost_is_the_mean_kl_of_counted_tokens(model, sae):
    edits = [sk.Edit(sae, latent=5, strength=0.7), sk.Edit(sae, latent=11, strength=-0.3)]
    assert cost(model, edits, TEXT) == pytest.approx(by_hand(model, edits), rel=1e-4)
    assert cost(model, sk.Edit(sae, latent=5, strength=0.0), TEXT) == pytest.approx(0, abs=1e-6)
    whole = len(model.to_tokens(TEXT[0])[0]) - 1
    assert cost(model, edits, TEXT, tokens=whole) == pytest.approx(cost(model, edits, TEXT[:1]), rel=1e-4)


@pytest.mark.parametrize("nats", [0.05, 0.5])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_strength_found_costs_what_was_asked_for(model, sae, nats, sign):
    found = strength_at(model, sk.Edit(sae, latent=5, strength=sign), TEXT, nats)
    assert found.reached and not found.note and found.cost == pytest.approx(nats, rel=0.05)
    assert found.strength == sign * found.factor
    assert by_hand(model, found.edits) == pytest.approx(found.cost, rel=1e-3)
    below = [each for factor, each in found.tried if factor < found.factor * 0.9]
    assert max(below) < nats, "the least strength that costs so much"
    assert list(found.frame().columns) == ["factor", "cost"] and found.frame().factor.is_monotonic_increasing


def test_several_edits_keep_their_proportion(model, sae):
    given = [sk.Edit(sae, latent=5, strength=2.0), sk.Edit(torch.randn(128), strength=-0.5, site=SITE)]
    found = strength_at(model, given, TEXT, 0.2)
    one, other = found.edits
    assert one.strength / other.strength == pytest.approx(-4.0) and found.strength == one.strength


def test_without_holding_the_models_own_predictions(model, sae, monkeypatch):
    edit = sk.Edit(sae, latent=5)
    held = cost(model, edit, TEXT)
    monkeypatch.setattr(budget, "KEPT_NUMBERS", 0)
    assert cost(model, edit, TEXT) == held


def test_what_cannot_be_reached_is_said(model, sae):
    nothing = strength_at(model, sk.Edit(torch.zeros(128), site=SITE), TEXT)
    assert not nothing.reached and nothing.cost < 1e-6
    assert "no strength costs 0.5 nats a token: at most" in nothing.note
    assert nothing.note in repr(nothing)
    alive = (sae.latent_max > 0).nonzero()[:, 0].tolist()
    clamped = sk.Edit(sae, latent=alive, mode="clamp")  # at any factor what the text itself says is lost
    found = strength_at(model, clamped, TEXT, 1e-4)
    assert not found.reached and "at least" in found.note and found.cost > 1e-4


@pytest.mark.parametrize(
    ("edit", "named", "sentence"),
    [
        ({"mode": "ablate"}, {}, "mode 'ablate' has no strength that costs more and more: use add, clamp, minimum"),
        ({"mode": "orthogonal"}, {}, "mode 'orthogonal' has no strength"),
        ({"strength": 0.0}, {}, "strength 0 stays 0 by any factor"),
        ({}, {"nats": 0}, "above 0, found 0"),
        ({}, {"nats": float("nan")}, "above 0, found nan"),
        ({}, {"tokens": 0}, "tokens must be at least 1, found 0"),
    ],
)
def test_bad_input(model, sae, edit, named, sentence):
    with pytest.raises(ValueError, match=sentence):
        strength_at(model, sk.Edit(sae, latent=5, **edit), TEXT, **named)


def test_no_edit_and_no_token(model, sae):
    with pytest.raises(ValueError, match="edits is empty"):
        cost(model, [], TEXT)
    with pytest.raises(ValueError, match="no token to count"):
        cost(model, sk.Edit(sae, latent=5), [""])
