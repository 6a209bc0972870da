"""Every site has its own scale, so that a loud one does not decide for a quiet one."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.metrics import explained_variance
from saekit.objectives import Batch
from saekit.training.batches import first_scales

LATENTS = 24


@pytest.fixture(scope="module")
def sites():
    """The same two of 24 latents on, written into two sites by directions of their own; "loud" 1000 times as large."""
    generator = torch.Generator().manual_seed(0)
    on = torch.rand(4000, LATENTS, generator=generator).topk(2).indices
    z = torch.zeros(4000, LATENTS).scatter(1, on, 0.5 + torch.rand(4000, 2, generator=generator))
    quiet, loud = (z @ torch.nn.functional.normalize(torch.randn(LATENTS, 16, generator=generator)) for _ in range(2))
    return {"quiet": quiet + 3, "loud": 1000 * loud - 7}


def test_the_scale_of_each_by_hand():
    """√ of the mean square around the mean, over tokens and dimensions; 1 of what is constant; one of all with each."""
    a, b = torch.tensor([[1.0, 5], [5, 1]]), torch.tensor([[0.0], [20]])
    batch = Batch.of({"a": a, "b": b, "c": torch.full((2, 3), 9.0)})
    assert first_scales(batch, sk.Wiring(["a", "b", "c"])) == {"a": 2.0, "b": 10.0, "c": 1.0}
    together = Batch.of({"a": torch.cat([a, 10 * a])})
    one = first_scales(together, sk.Wiring(["a", "b"], each=True))
    assert set(one) == {"a", "b"} and one["a"] == one["b"] == pytest.approx(
        float((together.reads["a"]).std(0, False)[0])
    )


@pytest.mark.parametrize("method", [sk.TopK(d_sae=48, k=2), sk.BatchTopK(d_sae=48, k=2)], ids=str)
def test_a_crosscoder_explains_a_quiet_site_as_well_as_a_loud_one(sites, method):
    settings = {"tokens": 60_000, "batch_size": 256, "dtype": torch.float32, "callback": lambda _: None}
    sae = sk.train(sites, None, method, **settings).dictionary
    x_hat = sae(sites)
    explained = {site: explained_variance(x, x_hat[site]) for site, x in sites.items()}
    print(method, explained)
    assert min(explained.values()) > 0.7 and abs(explained["quiet"] - explained["loud"]) < 0.1
    codes = {"loud": sae.encode_dense({**sites, "quiet": sites["quiet"].mean(0).expand(4000, -1)})}
    codes["quiet"] = sae.encode_dense({**sites, "loud": sites["loud"].mean(0).expand(4000, -1)})
    norms = {site: float(z.norm()) for site, z in codes.items()}
    assert 0.5 < norms["quiet"] / norms["loud"] < 2, "either one alone makes codes as strong"


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_a_transcoder_from_and_to_any_size(sites, factor):
    x, y = (sites["quiet"] - 3) * factor, sites["loud"] / factor
    wiring = sk.Wiring("x", "y")
    settings = {"tokens": 40_000, "batch_size": 256, "dtype": torch.float32, "callback": lambda _: None}
    sae = sk.train({"x": x, "y": y}, wiring, sk.TopK(d_sae=48, k=2), **settings).dictionary
    assert explained_variance(y, sae(x)) > 0.8
