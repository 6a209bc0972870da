"""engine="ray": a store read on two workers of this machine is the local one, file by file equal in content."""

from __future__ import annotations

import pandas
import pyarrow.parquet as pq
import pytest
import torch

import saekit as sk
from saekit.features.building import reading

pytest.importorskip("ray", reason="Ray is not installed: pip install 'saekit[ray]'")
pytestmark = pytest.mark.slow  # a cluster of processes


def test_equal_to_the_local_engine(tmp_path, monkeypatch) -> None:
    import ray

    monkeypatch.setattr(reading, "CHUNK_TOKENS", 700)

    model, sae = sk.load_model("micro", device="cpu"), sk.load_dictionary("micro/blocks.2.hook_resid_post")
    corpus = sk.load_corpus("microworld", split="heldout", n=40)
    build, threads = sk.FeatureStore.build, torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums over threads round otherwise
    try:
        made = {
            engine: build(model, sae, corpus, tmp_path / engine, tokens=2_000, loss_examples=0, engine=engine)
            for engine in ("local", "ray")
        }
    finally:
        torch.set_num_threads(threads)
        ray.shutdown()
    assert all(len(store.manifest["chunks"]) >= 2 for store in made.values())
    files = sorted(path.relative_to(tmp_path / "local") for path in (tmp_path / "local").rglob("*.parquet"))
    assert len(files) >= 7
    for file in files:
        local, other = (pq.read_table(tmp_path / engine / file).to_pandas() for engine in made)
        pandas.testing.assert_frame_equal(local, other)
    weights = [(tmp_path / engine / "dictionary" / "weights.safetensors").read_bytes() for engine in made]
    assert weights[0] == weights[1]
