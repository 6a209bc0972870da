"""Stores of dictionaries that write several sites of a model: logits and loss effects of a latent, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saekit as sk
from saekit.dictionaries.cross_layer import built
from saekit.features.building.output_path import OutputPath

TEXTS = ["the cat sat on the mat", "a dog in the house is on the mat", "the man ran", "the dog ran to the cat"] * 3
WIRINGS = {"cross-layer": sk.Wiring.cross_layer([0, 1]), "crosscoder": sk.Wiring.crosscoder([0, 1])}


@pytest.fixture(scope="module", params=WIRINGS)
def wiring(request: Any) -> sk.Wiring:
    return WIRINGS[request.param]


@pytest.fixture(scope="module")
def sae(wiring: sk.Wiring) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return built(sk.TopK(d_sae=16, k=3), wiring, dict.fromkeys(wiring.sites, 16)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def store(tiny_gpt2: Any, sae: Any, tmp_path_factory: Any, one_thread: None) -> sk.FeatureStore:
    folder: Path = tmp_path_factory.mktemp("stores")
    return sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, folder / "store", loss_effects="all")


@pytest.mark.filterwarnings("ignore:this dictionary does not say")
def test_a_loss_effect_is_that_of_ablating_the_latent(store: Any, tiny_gpt2: Any, sae: Any) -> None:
    """Of a crosscoder z is what the model has, so that of the later site an edit changes nothing else either."""
    rows = sk.activations.tokenize(tiny_gpt2, TEXTS)
    found = store.sql(
        "select latent, document, position, loss_effect from activations join tokens using (place) "
        "where isfinite(loss_effect) order by latent, document, position"
    )
    assert len(found) > 30
    for row in found.iloc[::7].itertuples():
        tokens, at = rows.tokens[row.document : row.document + 1], row.position + 1  # BOS comes first
        mask = rows.mask[row.document]
        tokens = tokens[:, : int(mask.nonzero().max()) + 1]
        losses = []
        for edits in (
            [sk.Edit(sae, latent=int(row.latent), mode="ablate", tokens=list(range(1, tokens.shape[1])))],
            [],
        ):
            with torch.no_grad(), sk.edited(tiny_gpt2, edits):
                logits = tiny_gpt2(tokens)
            losses.append(-float(logits[0, at].log_softmax(-1)[tokens[0, at + 1]]))
        assert row.loss_effect == pytest.approx(losses[0] - losses[1], abs=2e-5)


def test_rows_that_are_added_to_one_stream_have_their_sum_as_path(store: Any, tiny_gpt2: Any, sae: Any) -> None:
    frame = store.latents(all=True)
    latent = int(frame.firings.argmax())
    if not sae.wiring.layerwise:
        assert frame.top_tokens.isna().all()
        assert "which do not add up: no direct path" in store.view(latent)["absent"]["logits"]
        return
    path = OutputPath.of(tiny_gpt2, sk.activations.tokenize(tiny_gpt2, TEXTS))
    d = sum(sae.decoder_directions_at(site)[latent : latent + 1] for site in sae.writes)
    logits = path(d)[0] * frame.max_activation[latent]
    assert frame.top_logits[latent][0] == pytest.approx(float(logits.max()), rel=1e-3)
    assert store.text_of(int(logits.argmin())) == frame.bottom_tokens[latent][0]
    assert np.isfinite(frame.loss_effect[frame.firings > 20]).all()
