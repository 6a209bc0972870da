"""engine="ray": two workers on this machine give the local activations, bit for bit; failures end in a message."""

from __future__ import annotations

import functools

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore, model_worker

pytest.importorskip("ray", reason="Ray is not installed: pip install 'saekit[ray]'")
pytestmark = pytest.mark.slow  # a cluster of processes

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


def test_a_store_holds_the_bytes_of_the_local_one_and_goes_on_after_a_failure(model, tmp_path, monkeypatch):
    """A worker fails in the second shard; the first one is kept, and the same call ends with the same files."""
    corpus = sk.load_corpus("microworld", split="heldout", n=70)
    build = functools.partial(
        ActivationStore.build, model, corpus, SITES, tokens=700, shard_tokens=400, dtype=torch.float32
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        local = build(folder=tmp_path / "local")
    finally:
        torch.set_num_threads(threads)
    assert len(local.shards) >= 2

    class Failing(model_worker.ModelWorker):
        def __call__(self, item):
            raise FloatingPointError("the worker's memory is worn out")

    add, elsewhere = ActivationStore._add, model_worker.ModelWorker.elsewhere

    def then_fail(self, tensors):
        add(self, tensors)
        failing = elsewhere(Failing(model, SITES))
        monkeypatch.setattr(model_worker.ModelWorker, "elsewhere", lambda worker: failing)

    monkeypatch.setattr(ActivationStore, "_add", then_fail)
    with pytest.raises(RuntimeError, match=r"cluster failed: FloatingPointError: the worker's memory is worn out$"):
        build(folder=tmp_path / "ray", engine="ray", workers=2)
    monkeypatch.undo()
    assert model_worker.ModelWorker.elsewhere is elsewhere and len(ActivationStore.open(tmp_path / "ray").shards) == 1
    first = (tmp_path / "ray" / local.shards[0]["file"]).stat().st_mtime_ns
    build(folder=tmp_path / "ray", engine="ray", workers=2)
    assert (tmp_path / "ray" / local.shards[0]["file"]).stat().st_mtime_ns == first, "what was there is not read again"
    for path in (tmp_path / "local").iterdir():
        assert (tmp_path / "ray" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(list((tmp_path / "ray").iterdir())) == len(list((tmp_path / "local").iterdir()))


def test_a_failing_worker_ends_in_a_message(model):
    class Elsewhere:
        """The same model, said to be another."""

        def __getattr__(self, name):
            return "0" * 64 if name == "model_hash" else getattr(model, name)

    with pytest.raises(
        RuntimeError, match=r"a worker of the cluster failed: ValueError: the worker's 'micro' has other model_hash"
    ):
        sk.activations.harvest(Elsewhere(), ["The cat."], SITES[:1], engine="ray", workers=1)


def test_refused(model):
    with pytest.raises(ValueError, match=r"engine cannot be 'dask'; the closest is 'ray' \(of local, ray\)"):
        sk.activations.harvest(model, ["The cat."], SITES, engine="dask")
    with pytest.raises(ValueError, match=r"engine cannot be 'dask'; the closest is 'ray' \(of local, ray\)"):
        ActivationStore.build(model, ["The cat."], SITES, "nowhere", tokens=10, engine="dask")
