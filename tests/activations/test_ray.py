"""engine="ray": two workers on this machine give the local activations, bit for bit; failures end in a message."""

from __future__ import annotations

import pytest
import torch

import saekit as sk

pytest.importorskip("ray", reason="Ray is not installed: pip install 'saekit[ray]'")
SITES = ["blocks.1.hook_resid_post", "blocks.0.attn.hook_z"]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model():
    return sk.load_model("micro", device="cpu")


def test_equal_to_the_local_engine(model):
    corpus = sk.load_corpus("microworld", split="heldout", n=70)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums over threads round otherwise
    try:
        local = sk.activations.harvest(model, corpus, SITES)
    finally:
        torch.set_num_threads(threads)
    ray = sk.activations.harvest(model, corpus, SITES, engine="ray", workers=2)
    assert torch.equal(ray.mask, local.mask) and ray.provenance == local.provenance
    assert all(torch.equal(ray[site], local[site]) for site in SITES)


def test_a_failing_worker_ends_in_a_message(model):
    class Elsewhere:
        """The same model, said to be another."""

        def __getattr__(self, name):
            return "0" * 64 if name == "model_hash" else getattr(model, name)

    with pytest.raises(RuntimeError, match=r"a worker of the cluster failed: .*model_hash"):
        sk.activations.harvest(Elsewhere(), ["The cat."], SITES[:1], engine="ray", workers=1)


def test_refused(model):
    with pytest.raises(ValueError, match="engine is 'local' or 'ray', found 'dask'"):
        sk.activations.harvest(model, ["The cat."], SITES, engine="dask")
