"""CE and KL recovered and shrinkage: against each row run alone, at both ends, and by hand."""

from __future__ import annotations

import math

import pytest
import torch

import saekit as sk
from saekit.metrics import recovered, shrinkage

SITE = "blocks.1.hook_resid_post"
TEXTS = ["When Anna and Peter went to the park, Anna gave", "a", "The cat near the dogs is old.", "one two three"]


def dictionary_of(decoder, site=SITE):
    built = sk.ReLU(d_sae=32).build(sk.Wiring(site), {site: 16})
    with torch.no_grad():
        built.encoder_directions.copy_(torch.cat([torch.eye(16), -torch.eye(16)]))
        built.decoder_directions.copy_(torch.cat([decoder, -decoder]))
    return built.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def rows(tiny_gpt2):
    return sk.activations.tokenize(tiny_gpt2, TEXTS, exclude=())


@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("site", [SITE, "blocks.0.hook_mlp_out"])
def test_against_each_row_alone(tiny_gpt2, rows, ablation, site):
    model = tiny_gpt2
    dictionary = dictionary_of(torch.diag(torch.linspace(0.2, 1.2, 16)), site)
    acts = sk.activations.harvest(model, TEXTS, [site])
    mean = acts.flat(site).mean(0) if ablation == "mean" else torch.zeros(16)
    sums, count = torch.zeros(5, dtype=torch.float64), 0
    for tokens, mask in zip(rows.tokens, rows.mask, strict=True):
        length = int(mask.nonzero().max()) + 1
        row, counted = tokens[None, :length], mask[:length]
        where = {}

        def put(value, counted=counted):
            def hook(h, hook):
                h = h.clone()
                h[0, counted] = value(h[0, counted])
                return h

            return hook

        with torch.no_grad():
            where["clean"] = model(row)
            for name, value in (("spliced", dictionary), ("ablated", lambda h: mean)):
                with model.hooks(fwd_hooks=[(site, put(value))]):
                    where[name] = model(row)
        logs = {name: logits[0].double().log_softmax(-1) for name, logits in where.items()}
        for place in range(1, length - 1):  # BOS predicts too, but is not counted
            following = int(row[0, place + 1])
            p = logs["clean"][place].exp()
            sums += torch.stack(
                [-logs[name][place, following] for name in ("clean", "spliced", "ablated")]
                + [(p * (logs["clean"][place] - logs[name][place])).sum() for name in ("spliced", "ablated")]
            )
            count += 1
    found = recovered(model, dictionary, rows, ablation=ablation)
    expected = (sums / count).tolist()
    assert found.tokens == count and found.ablation == ablation
    measured = [found.ce_clean, found.ce_spliced, found.ce_ablated, found.kl_spliced, found.kl_ablated]
    assert measured == pytest.approx(expected, abs=1e-5)
    clean, spliced, ablated, kl_spliced, kl_ablated = expected
    assert found.ce_recovered == pytest.approx((ablated - spliced) / (ablated - clean), abs=1e-3)
    assert found.kl_recovered == pytest.approx(1 - kl_spliced / kl_ablated, abs=1e-3)


def test_both_ends(tiny_gpt2, rows):
    perfect = recovered(tiny_gpt2, dictionary_of(torch.eye(16)), rows)
    assert perfect.ce_recovered == pytest.approx(1, abs=1e-4) and perfect.kl_recovered == pytest.approx(1, abs=1e-5)
    nothing = recovered(tiny_gpt2, dictionary_of(torch.zeros(16, 16)), rows)
    assert (nothing.ce_recovered, nothing.kl_recovered) == (0, 0)


def test_the_first_tokens_only(tiny_gpt2, rows):
    whole = recovered(tiny_gpt2, dictionary_of(torch.eye(16)), rows)
    first = recovered(tiny_gpt2, dictionary_of(torch.eye(16)), rows, tokens=1)
    assert 1 <= first.tokens < whole.tokens, "whole rows, as few as make one prediction"
    assert "zero ablation" in first.definition and f"{first.tokens:,}" in first.definition


def test_refused(tiny_gpt2, rows):
    dictionary = dictionary_of(torch.eye(16))
    with pytest.raises(ValueError, match=r"ablation cannot be 'noise'; the closest is 'zero' \(of zero, mean\)"):
        recovered(tiny_gpt2, dictionary, rows, ablation="noise")
    with pytest.raises(ValueError, match="no prediction to judge"):
        recovered(tiny_gpt2, dictionary, sk.activations.tokenize(tiny_gpt2, torch.tensor([[3]])))
    with pytest.raises(ValueError, match="edits are not offered"):
        recovered(tiny_gpt2, dictionary_of(torch.eye(16), "blocks.0.mlp.hook_in"), rows)


def test_a_site_that_cannot_be_edited_leaves_the_rest(tiny_gpt2):
    report = sk.evaluate(tiny_gpt2, dictionary_of(torch.eye(16), "blocks.0.mlp.hook_in"), TEXTS)
    assert report.recovered is None and math.isnan(report.ce_recovered) and report.explained_variance > 0.99
    assert not any("recovered" in str(row["name"]) for row in report.rows())


def test_shrinkage_by_hand():
    x = torch.tensor([[2.0, 0], [0, 4]])
    assert shrinkage(x, x / 2) == 0.5 and shrinkage(x, x) == 1
    assert shrinkage(x, torch.tensor([[1.0, 1], [0, 4]])) == pytest.approx((2 + 16) / (2 + 16))
    with pytest.raises(ValueError, match="one shape"):
        shrinkage(x, x[:1])


def by_hand(model, dictionaries, tokens):
    """CE of the next token with every dictionary spliced as sk.spliced does it, at all but BOS and the last."""
    with torch.no_grad(), sk.spliced(model, dictionaries):
        logs = model(tokens)[0].log_softmax(-1)
    return float(-logs[1:-1].gather(1, tokens[0, 2:, None]).mean())


@pytest.mark.parametrize("together", [True, False])
def test_several_are_spliced_together_as_spliced_does(tiny_gpt2, together):
    """Each reads what arrives, which those before it have changed; so do the layers of a cross-layer one."""
    text = "The cat is old."
    rows, tokens = sk.activations.tokenize(tiny_gpt2, [text], exclude=()), tiny_gpt2.to_tokens(text)
    settings = {"tokens": 512, "batch_size": 64, "seed": 0, "callback": lambda progress: None}
    wirings = [sk.Wiring.transcoder(0), sk.Wiring.transcoder(1)] if together else [sk.Wiring.cross_layer([0, 1])]
    made = [sk.train(tiny_gpt2, each, sk.TopK(d_sae=32, k=2), TEXTS * 9, **settings).dictionary for each in wirings]
    found = recovered(tiny_gpt2, made if together else made[0], rows)
    assert found.ce_spliced == pytest.approx(by_hand(tiny_gpt2, made, tokens), abs=1e-5)
    assert abs(found.ce_spliced - found.ce_clean) > 1e-4
    alone = [recovered(tiny_gpt2, each, rows).ce_ablated for each in made]
    assert together == (abs(found.ce_ablated - alone[0]) > 1e-4)


def test_two_that_write_one_site_are_not_spliced_together(tiny_gpt2, rows):
    made = dictionary_of(torch.eye(16))
    with pytest.raises(ValueError, match=r"two of the dictionaries write 'blocks.1.hook_resid_post'"):
        recovered(tiny_gpt2, [made, made], rows)
