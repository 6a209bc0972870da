"""A feature store written by hand: any numbers for its latents, and nothing of a corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from saekit.features import FeatureStore, schema
from saekit.features.building.tables import table, write_table

WORDS = [" the", " big", " Tall", " Борис", " 🐻", "x", " İ", "14"]


def write_store(folder: Path, size: int, latents: dict[str, Sequence[Any]]) -> FeatureStore:
    """`latents`: columns of the table latents; firings are 1 where density is not 0, other counts empty."""
    fires = np.asarray(latents["density"]) != 0
    given: dict[str, Any] = {"latent": np.arange(size), "firings": fires.astype(int), "loss_tokens": fires.astype(int)}
    for name in ("max_activation", "min_activation", "decoder_norm"):
        given[name] = np.zeros(size)
    for name, count in (("histogram", 4), ("intervals", 5), ("quantiles", 6)):
        given[name] = [[1] * count] * size
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder, "latents", 0, table("latents", given | dict(latents)))
    for name in schema.TABLES.keys() - {"latents", "vocabulary"}:
        write_table(folder, name, 0, table(name, {schema.TABLES[name].names[0]: []}))
    words = {
        "token": np.arange(len(WORDS)),
        "bytes": [word.encode() for word in WORDS],
        "special": [False] * len(WORDS),
    }
    pq.write_table(table("vocabulary", words), folder / "vocabulary.parquet")
    manifest = {
        "format": schema.FORMAT,
        "version": schema.VERSION,
        "finished": True,
        "provenance": {"model": "none", "model_hash": None, "corpus": None},
        "dictionary": {
            "fingerprint": "none",
            "configuration": {"method": "TopK", "k": 8},
            "reads": ["x"],
            "writes": ["x"],
            "d_sae": size,
        },
        "settings": {"loss_examples": 4, "most_firings": 100},
        "given": {},
        "progress": {"counted": 15_000, "excluded": {"bos": 120}},
        "concepts": ["entity.person", "code.bracket"],
        "output_path": None,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return FeatureStore.open(folder)


def random_store(folder: Path, size: int, seed: int = 0) -> FeatureStore:
    """Awkward numbers: ties, signs, gaps, dead latents, float32 that differ from the float64 they stand for."""
    rng = np.random.default_rng(seed)
    density = np.where(rng.random(size) < 0.1, 0, rng.integers(1, 20, size) / 100)
    found = rng.random(size) < 0.6
    names = np.array(["entity.person", "code.bracket"], dtype=object)[rng.integers(0, 2, size)]
    f1 = rng.integers(0, 11, size) / 10
    return write_store(
        folder,
        size,
        {
            "density": density,
            "max_activation": np.where(density > 0, rng.integers(0, 90, size) / 10, 0),
            "min_activation": np.where(density > 0, -rng.integers(0, 90, size) / 10, 0) * (rng.random(size) < 0.3),
            "concept": [[name] if one else [] for name, one in zip(names, found, strict=True)],
            "concept_f1": [[value] if one else [] for value, one in zip(f1, found, strict=True)],
            "concept_precision": [[0.5] if one else [] for one in found],
            "concept_recall": [[0.5] if one else [] for one in found],
            "concept_threshold": [[0.0] if one else [] for one in found],
            "concept_share": [[0.5] if one else [] for one in found],
            "loss_effect": [v if k else None for v, k in zip(rng.integers(-9, 9, size) / 100, found, strict=True)],
            "peak_tokens": rng.integers(0, len(WORDS), (size, 3)).tolist(),
        },
    )
