"""The order of a list until somebody sorts it, on latents whose places are worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
from saekit_widgets import FeatureBrowser
from written_store import write_store

from saekit.features import FeatureStore
from saekit.features.asking.order import special_concepts
from saekit.features.building.tables import table, write_table

FOUND = ["chat.user", "entity.city", None, "entity.city", None, "chat.user", "code.body"]
F1 = [1.0, 0.9, None, 0.95, None, 0.4, 0.9]
STRONGEST = [9.0, 1.0, 3.0, 2.0, 8.0, 7.0, 5.0]
DENSITY = [0.01, 0.0005, 0.3, 0.01, 0.05, 0.0004, 0.0]


def made(folder: Path, concepts: list[str]) -> FeatureStore:
    numbers = {"density": DENSITY, "max_activation": STRONGEST}
    if concepts:
        numbers |= {"concept": [[name] if name else [] for name in FOUND]}
        numbers |= {f"concept_{name}": [[f1] if f1 else [] for f1 in F1] for name in ("f1", "precision", "recall")}
        numbers |= {f"concept_{name}": [[0.5] if f1 else [] for f1 in F1] for name in ("threshold", "share")}
    write_store(folder, len(FOUND), numbers)
    # The third word is special; BOS, which is not counted, has a label too.
    tokens = {"place": range(6), "token": [2, 2, 0, 1, 2, 0], "document": [0] * 6, "position": range(6)}
    tokens |= {"row": [0] * 6, "counted": [False, True, True, True, True, True]}
    labels = {0: "entity.city", 1: "chat.user", 2: "entity.city", 3: "code.body", 4: "chat.user", 5: "chat.user"}
    write_table(folder, "tokens", 0, table("tokens", tokens))
    write_table(folder, "concepts", 0, table("concepts", {"place": list(labels), "concept": list(labels.values())}))
    words = {"token": range(3), "bytes": [b" the", b" big", b"<|user|>"], "special": [False, False, True]}
    pq.write_table(table("vocabulary", words), folder / "vocabulary.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"concepts": concepts}))
    return FeatureStore.open(folder)


def test_with_labels_by_f1_and_special_tokens_last(tmp_path: Path) -> None:
    store = made(tmp_path / "labelled", ["chat.user", "code.body", "entity.city"])
    assert special_concepts(store) == ["chat.user"]
    assert store.listing()["usual"].argsort().tolist() == [3, 6, 1, 4, 2, 0, 5]
    assert store.matching({}) == [3, 1, 4, 2, 0, 5]  # 6 never fires
    assert store.matching({"concept": "entity.city"}) == [3, 1]
    assert store.matching({"concept": "chat.user"}) == [0, 5]
    assert store.latents({}).latent.tolist() == [3, 1, 4, 2, 0, 5]
    assert store.latents().latent.tolist() == list(range(7))
    assert store.listing()["order"]["by"] == "f1"


def test_without_labels_middling_densities_first(tmp_path: Path) -> None:
    store = made(tmp_path / "plain", [])
    assert store.matching({}) == [0, 4, 3, 1, 5, 2]
    assert store.matching({"dead": True}) == [6]
    assert store.listing()["order"]["by"] == "max"


def test_a_browser_opens_with_the_first_of_its_list(tmp_path: Path) -> None:
    store = made(tmp_path / "labelled", ["chat.user", "code.body", "entity.city"])
    browser = FeatureBrowser(store)
    assert (browser.sort, browser.feature) == (None, 3)
    assert browser.latents().latent.tolist() == [3, 1, 4, 2, 0, 5]
    assert FeatureBrowser(store, filter={"concept": "chat.user"}).feature == 0
    assert FeatureBrowser(store, sort=["max", False]).feature == 1
    assert FeatureBrowser(store, filter={"max": [100, None]}).feature == 0  # nothing passes
    browser.sort = ["density", True]
    browser.sort = None
    assert browser.latents().latent.tolist() == [3, 1, 4, 2, 0, 5]
