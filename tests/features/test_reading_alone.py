"""Reading a store: without the builder, and by what the store's own files say of how they were made."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import saekit as sk

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the {a} {b} on a {c} and he is in it" for a in ("cat", "dog", "man") for b in ("sat", "is") for c in "abcde"]
BINS, LOGIT_BINS = 7, 12  # of a builder of another day


@pytest.fixture(scope="module")
def folder(tiny_gpt2, tmp_path_factory, one_thread) -> Path:
    torch.manual_seed(0)
    sae = sk.TopK(d_sae=20, k=3).build(sk.Wiring(SITE), {SITE: 16})
    made = tmp_path_factory.mktemp("stores") / "other"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saekit.features.building.statistics.BINS", BINS)
        patch.setattr("saekit.features.building.part.LOGIT_BINS", LOGIT_BINS)
        sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, made, top=3, random=3, per_band=1, loss_examples=0)
    return made


def alive(store: sk.FeatureStore) -> int:
    return int(store.sql("select latent from latents order by firings desc limit 1").latent[0])


def test_histograms_have_the_bins_that_the_store_has(folder: Path) -> None:
    store = sk.FeatureStore.open(folder)
    view = store.view(alive(store))
    for panel, bins in ((view["histogram"], BINS), (view["logits"], LOGIT_BINS)):
        assert (len(panel["counts"]), len(panel["edges"])) == (bins, bins + 1)
    row = store.row(alive(store))
    assert view["logits"]["edges"][0] == row["logit_low"] and view["logits"]["edges"][-1] == row["logit_high"]
    bins = store.histogram(alive(store)).rows
    assert len(bins) == BINS and bins[-1]["high"] == row["max_activation"]


def test_windows_are_as_wide_as_the_manifest_says(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["windows"] == {"before": 24, "after": 16}
    widths = {}
    for name, windows in (("narrow", {"before": 3, "after": 2}), ("new", manifest["windows"]), ("old", None)):
        copy = shutil.copytree(folder, tmp_path / name)
        changed = {key: value for key, value in manifest.items() if key != "windows"}
        (copy / "manifest.json").write_text(json.dumps(changed | ({"windows": windows} if windows else {})))
        store = sk.FeatureStore.open(copy)
        shown = [sum(map(len, one["tokens"])) for one in store.view(alive(store))["examples"]["top"]]
        widths[name] = max(shown), max(len(window.tokens) for window in store.windows(alive(store)))
    assert widths["narrow"] == (6, 6) < widths["new"] == widths["old"]


def test_opening_loads_neither_the_builder_nor_what_it_needs(folder: Path) -> None:
    code = (
        "import sys\nfrom saekit.features.store import FeatureStore\n"
        f"store = FeatureStore.open({str(folder)!r})\nstore.view(3), store.listing(), store.card(3)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "saekit.features.store" in loaded
    builder = [name for name in loaded if name.startswith("saekit.features.building")]
    assert not builder and not {"scipy", "sklearn", "transformer_lens", "transformers"} & set(loaded), builder
