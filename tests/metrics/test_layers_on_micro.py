"""What the layers of a real model give: which of them may share a dictionary, what that saves and loses, and where the
latents of one for all are. The runs are small (256 latents, 24,000 rows a dictionary), and the signs are held."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import torch

import saekit as sk

pytestmark = pytest.mark.slow
METHODS = {"TopK": sk.TopK(d_sae=256, k=16), "standardised": sk.Standardised(sk.TopK(d_sae=256, k=16))}


@pytest.fixture(scope="module", params=["micro", "stories260K"])
def read(request: pytest.FixtureRequest) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Activations after each block, on 24,000 tokens to train on, and on 4,000 others."""
    if request.param == "micro":
        model = sk.load_model("micro", device="cpu")
        texts: list[Any] = [sk.load_corpus("microworld", split=split) for split in ("train", "heldout")]
    else:
        real = request.getfixturevalue("real_folder")
        model = sk.load_model(real / "stories260K", device="cpu")
        stories = json.loads((real / "tinystories" / "tinystories_1000.json").read_text(encoding="utf-8"))
        texts = [stories[:800], stories[800:]]
    sites = [f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers)]
    found = []
    for source, tokens in zip(texts, (24_000, 4_000), strict=True):
        acts = sk.activations.harvest(model, source, sites, tokens=tokens)
        found.append({site: acts.flat(site) for site in sites})
    return found[0], found[1]


def trained(x: dict[str, torch.Tensor], wiring: sk.Wiring, method: sk.Method, rows: int = 24_000) -> sk.Dictionary:
    """On so many rows, in steps of as many whatever the number of sites."""
    n = len(wiring.reads)
    settings: dict[str, Any] = {"batch_size": 256 // n, "dtype": torch.float32, "callback": lambda _: None}
    return sk.train({site: x[site] for site in wiring.reads}, wiring, method, tokens=rows // n, **settings).dictionary


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", METHODS)
def test_fewer_dictionaries_are_sooner_trained_and_explain_less(read, name):
    x, held = read
    groups, seconds, explained = sk.metrics.layer_groups(x), {}, {}
    for k in groups.groups:
        began, found = time.process_time(), []
        for wiring in groups.wirings(k):
            sae = trained(x, wiring, METHODS[name])
            found += [sk.metrics.explained_variance(held[s], sae.at(site=s)(held[s])) for s in wiring.reads]
        seconds[k], explained[k] = time.process_time() - began, sum(found) / len(x)
    print(groups)
    for k in groups.groups:
        print(f"k={k}: {seconds[len(x)] / seconds[k]:.2f} times as fast, {explained[len(x)] - explained[k]:.3f} lost")
    assert groups.frame()["contiguous"].all(), "as in the paper"
    values = list(explained.values())
    assert values == sorted(values) and values[-1] - values[0] > 0.02, "each further dictionary explains more"
    assert seconds[1] < 0.6 * seconds[len(x)]


@pytest.mark.usefixtures("one_thread")
def test_one_dictionary_for_all_layers(read):
    """Most latents are active at several layers, but one token has them at few of these; standardised, the first layer
    is explained as the others are."""
    x, held = read
    found = {}
    for name, method in METHODS.items():
        sae = trained(x, sk.Wiring(list(x), each=True), method, rows=24_000 * len(x))
        found[name] = sk.metrics.latent_layers(held, sae)
        print(name, found[name], sep="\n")
    ours, plain = found["standardised"], found["TopK"]
    assert ours.several > 0.8 and 1.5 < ours.layers_a_latent < len(x) and 0.02 < ours.concentration < 0.6
    assert (ours.cosines > 0.3).all() and (ours.cosines < 1).all()
    assert ours.explained[0] > plain.explained[0] + 0.03
    assert ours.mass.sum(0).max() < 2 * ours.mass.sum(0).min(), "no layer has most of the mass"
