"""latent_layers: by hand, beside a slow and obvious version, and on dictionaries whose layers are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import saekit as sk
from saekit.metrics import latent_layers
from saekit.metrics.beside import short_names

SITES = [f"blocks.{layer}.hook_resid_post" for layer in range(3)]


def reader(d: int = 4, sites: list[str] = SITES, method: Any = None) -> Any:
    """z = x where x > 0: latent i is axis i."""
    made: Any = (method or sk.ReLU(d_sae=d)).build(sk.Wiring(sites, each=True), dict.fromkeys(sites, d))
    with torch.no_grad():
        made.encoder.directions.copy_(torch.eye(d))
        made.decoder.directions.copy_(torch.eye(d))
    return made.requires_grad_(False)


def by_site(*layers: list[list[float]]) -> dict[str, torch.Tensor]:
    return {site: torch.tensor(x) for site, x in zip(SITES, layers, strict=True)}


def test_by_hand():
    """Latent 0: at layer 0 in the first token, at layer 2 in the second. Latent 1: at layers 0 and 2 of one token.
    Latent 2: at layer 1 alone. Latent 3: never."""
    x = by_site(
        [[2.0, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0.0, 0, 0, 0], [0, 0, 5, 0], [0, 0, 1, 0]],
        [[0.0, 1, 0, 0], [6, 0, 0, 0], [0, 0, 0, -1]],
    )
    found = latent_layers(x, reader())
    assert found.tokens == 3 and found.mass.tolist() == [[2, 0, 6], [3, 0, 1], [0, 6, 0], [0, 0, 0]]
    assert found.firings.tolist() == [[1, 0, 1], [1, 0, 1], [0, 2, 0], [0, 0, 0]]
    assert found.at_tokens.tolist() == [2, 1, 2, 0]
    assert found.p[:3].tolist() == [[0.25, 0, 0.75], [0.75, 0, 0.25], [0, 1, 0]] and found.p[3].isnan().all()
    assert found.mean_layer[:3].tolist() == [1.5, 0.5, 1] and found.spread[:3].tolist() == [0.75, 0.75, 0]
    assert found.within[:3].tolist() == [0, 0.75, 0] and found.within[3].isnan()
    assert found.concentration == pytest.approx((0 + 0 + 1) / 3), "of three pairs one is spread as all of them are"
    assert found.l0 == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert list(found.frame().columns[:5]) == ["latent", "tokens", "mean_layer", "spread", "within"]


def test_shares_are_of_latents_that_fire_often_enough():
    """0: alike at two layers; 1: 4 % of its mass at the second; 2: nine firings, of which nothing is said."""
    x = torch.zeros(3, 20, 4)
    x[0, :, 0] = x[1, :, 0] = 1
    x[0, :, 1], x[2, :, 1] = 24, 1
    x[1, :5, 2] = x[2, :4, 2] = 1
    found = latent_layers(dict(zip(SITES, x, strict=True)), reader())
    assert found.told.tolist() == [True, True, False, False]
    assert found.several == 0.5
    entropy = -(0.96 * torch.tensor(0.96).log() + 0.04 * torch.tensor(0.04).log())
    assert found.layers_a_latent == pytest.approx((2 + float(entropy.exp())) / 2)
    x[2, 4, 2] = 1
    again = latent_layers(dict(zip(SITES, x, strict=True)), reader())
    assert again.told.tolist() == [True, True, True, False] and again.several == pytest.approx(2 / 3)


@pytest.mark.parametrize("method", [sk.TopK(d_sae=24, k=4), sk.dictionaries.PCA(d_sae=8, k=3)])
def test_beside_a_slow_and_obvious_version(method):
    """Signed codes count by their size; the explained variance is that of the dictionary at one of its sites."""
    generator = torch.Generator().manual_seed(0)
    x = {site: torch.randn(2100, 8, generator=generator) + layer for layer, site in enumerate(SITES)}
    settings = {"tokens": 2048, "batch_size": 64, "callback": lambda _: None}
    sae = sk.train(x, sk.Wiring(SITES, each=True), sk.Standardised(method), **settings).dictionary
    found = latent_layers(x, sae)
    z = torch.stack([sae.encode_dense(x[site]).abs() for site in SITES], 2).double()  # [token, latent, layer]
    mass, layer = z.sum(0), torch.arange(3.0).double()

    def variance(p: torch.Tensor) -> torch.Tensor:
        return (p * (layer - (p * layer).sum(-1, keepdim=True)).square()).sum(-1)

    spread = variance(mass / mass.sum(-1, keepdim=True))
    ratios, some = [], []
    for token in range(len(z)):
        for latent in range(z.shape[1]):
            if (total := z[token, latent].sum()) > 0:
                one = variance(z[token, latent] / total)
                some.append((latent, float(one)))
                ratios.append(float(one / spread[latent]))
    assert torch.allclose(found.mass, mass) and torch.equal(found.firings, (z > 0).sum(0))
    assert found.concentration == pytest.approx(sum(ratios) / len(ratios), rel=1e-5)
    of_two = [value for latent, value in some if latent == 2]
    assert float(found.within[2]) == pytest.approx(sum(of_two) / len(of_two), rel=1e-5)
    cosine = torch.cosine_similarity(x[SITES[0]], x[SITES[1]], dim=1).mean()
    assert float(found.cosines[0]) == pytest.approx(float(cosine), rel=1e-4)
    for row, site in zip(found.by_site().to_dict("records"), SITES, strict=True):
        report = sk.evaluate(x[site], sae.at(site=site))
        assert row["explained_variance"] == pytest.approx(report.explained_variance, rel=1e-5)
        assert row["l0"] == pytest.approx(report.l0) and row["alive"] == 1 - report.dead
        assert row["mass"] == pytest.approx(float(mass.sum(0)[SITES.index(site)] / mass.sum()))


def test_near_0_where_layers_have_latents_of_their_own_and_near_1_where_all_share_them():
    generator = torch.Generator().manual_seed(0)
    fires = (torch.rand(400, 4, generator=generator) < 0.3) * torch.rand(400, 4, generator=generator)
    shared = latent_layers(dict.fromkeys(SITES, fires), reader())
    assert (
        shared.concentration == pytest.approx(1) and shared.several == 1 and shared.layers_a_latent == pytest.approx(3)
    )
    at = torch.randint(3, (400, 1), generator=generator)
    moving = latent_layers({site: fires * (at == layer) for layer, site in enumerate(SITES)}, reader())
    assert moving.concentration == 0 and moving.several == 1, "each token at one layer, all of them at all three"
    own = latent_layers({site: fires * (torch.arange(4) % 3 == layer) for layer, site in enumerate(SITES)}, reader())
    assert own.several == 0 and own.layers_a_latent == 1 and own.concentration != own.concentration


def test_drawn_beside_a_prompt(tiny_gpt2):
    sites = [SITES[0], SITES[1]]
    texts = [f"the cat sat on {a} and the dog saw it" for a in "abcdefgh"]
    method = sk.Standardised(sk.TopK(d_sae=32, k=4))
    settings = {"tokens": 960, "batch_size": 48, "callback": lambda _: None}
    run = sk.train(tiny_gpt2, sk.Wiring(sites, each=True), method, texts, **settings)
    found = latent_layers(tiny_gpt2, run, texts, prompt="the cat <b>sat</b>")
    acts = sk.activations.harvest(tiny_gpt2, texts, sites)
    assert found.tokens == acts.provenance["tokens"]
    alone = latent_layers({site: acts.flat(site) for site in sites}, run)
    assert torch.allclose(found.mass, alone.mass, rtol=1e-4) and found.explained == pytest.approx(
        alone.explained, rel=1e-4
    )
    chart = found.chart.to_dict()
    assert len(chart["hconcat"]) == 2
    data = list(chart["datasets"].values())
    assert data[0][0]["layer"] == "1", "the last layer is at the top"
    order = [row["latent"] for row in data[0] if row["layer"] == "0"]
    assert found.mean_layer[order].tolist() == sorted(found.mean_layer[order].tolist())
    share = {(row["latent"], row["layer"]): row["share"] for row in data[0]}
    assert share[order[0], "1"] == pytest.approx(float(found.p[order[0], 1]))
    assert set(row["latent"] for row in data[1]) == set(found.prompt.mass.sum(1).nonzero()[:, 0].tolist())
    assert found._repr_html_().count("<img ") == 1 and "concentration" in repr(found) and SITES[1] in repr(found)
    assert latent_layers(tiny_gpt2, run, texts, tokens=20).tokens == 20


def test_names():
    assert short_names(SITES) == ["0", "1", "2"] and short_names(["a", "b"]) == ["a", "b"]
    mixed = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"]
    assert short_names(mixed) == mixed


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (
            lambda m: latent_layers({}, reader(sites=SITES[:1])),
            ValueError,
            r"sk\.Wiring\(\[site, site\], each=True\), fou",
        ),
        (lambda m: latent_layers(m, reader().at(site=SITES[1])), ValueError, "found one of blocks.1.hook_resid_post"),
        (lambda m: latent_layers(m, reader()), TypeError, "there is no corpus to read"),
        (lambda m: latent_layers(reader(), m, ["a"]), TypeError, "model is a model, found a dictionary"),
        (
            lambda m: latent_layers({SITES[0]: torch.ones(3, 4)}, reader()),
            ValueError,
            "there is no array for 'blocks.1",
        ),
        (
            lambda m: latent_layers(dict.fromkeys(SITES, torch.ones(3, 4)), reader(), prompt="a"),
            TypeError,
            "by a model",
        ),
        (
            lambda m: latent_layers({s: torch.ones(3 + i, 4) for i, s in enumerate(SITES)}, reader()),
            ValueError,
            "as many rows at each site, found .3, 4, 5.",
        ),
        (
            lambda m: latent_layers(dict.fromkeys(SITES, torch.full((3, 4), torch.nan)), reader()),
            ValueError,
            "NaN activations at 'blocks.0",
        ),
    ],
)
def test_refused(tiny_gpt2, wrong, kind, message):
    with pytest.raises(kind, match=message):
        wrong(tiny_gpt2)
