"""What a folder is called, and where the notebook works, changes nothing that a store says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import saekit as sk
from saekit.features import schema
from saekit.features.building import build, reading

SITE = "blocks.0.hook_resid_post"
ALIVE = (1, 2)
TEXTS = [f"the {a} {b} on a {c}" for a in ("cat", "dog", "man") for b in ("sat", "is") for c in "abcd"]
NAMES = [
    "kind=topk/run",
    "density=0.01/run",
    "layer=2/k=16/run",
    "a*b",
    "a?b",
    "**",
    "run[1]",
    "[!a]",
    "[",
    "{a,b}",
    "k=v/[x]*?",
    "it's",
    'a "b"',
    "100%20#",
    "a;b $HOME ",
    "~",
    "file:a",
    "日本 é \U0001f600",
    "back\\slash",
    "line\nbreak",
]


def made(folder: Path, model, d_sae: int = 20) -> sk.FeatureStore:
    torch.manual_seed(0)
    sae = sk.TopK(d_sae=d_sae, k=3).build(sk.Wiring(SITE), {SITE: 16})
    return sk.FeatureStore.build(model, sae, TEXTS, folder, top=3, random=3, per_band=2, loss_examples=1)


@pytest.fixture
def plain(tiny_llama, one_thread, tmp_path, monkeypatch) -> sk.FeatureStore:
    """A store of several parts of each table; folders whose names a pattern would take for others lie beside it."""
    monkeypatch.setattr(reading, "CHUNK_TOKENS", 60)
    monkeypatch.setattr(build, "LATENTS_AT_ONCE", 6)
    store = made(tmp_path / "first" / "store", tiny_llama)
    assert len(store.manifest["chunks"]) > 1 and len(store.manifest["parts"]) > 1
    return store


def said(store: sk.FeatureStore) -> dict[str, object]:
    frames = {name: store.sql(f"select * from {name}").to_json() for name in schema.TABLES}
    columns = {name: values.tolist() for name, values in store.listing()["columns"].items()}
    views = [{**store.view(latent), "numbers": None, "explanations": []} for latent in ALIVE]
    assert all(view["examples"]["top"] for view in views)
    return {**frames, "columns": str(columns), "views": views}


def test_a_folder_may_be_called_anything(plain, tmp_path) -> None:
    truth = said(plain)
    assert len(plain.sql("select * from tokens")) == plain.manifest["progress"]["places"]
    others = [made_of(plain, tmp_path / "names" / decoy) for decoy in ("aXb", "run1", "x", "b", "k=v/x")]
    assert len(others) == 5
    for name in NAMES:
        folder = tmp_path / "names" / name
        shutil.copytree(plain.folder, folder)
        store = sk.FeatureStore.open(folder)
        assert said(store) == truth, name
        store.set_label(1, label=name)
        assert sk.FeatureStore.open(folder).labels.get(1)["label"] == name
        assert (folder / "labels.sqlite").is_file() and plain.labels.get(1)["label"] == ""
    assert store.export_labels(folder / "labels.json").is_file()
    assert any(store.export_neuronpedia(folder / "k=v" / "[1]*").iterdir())


def made_of(store: sk.FeatureStore, folder: Path) -> Path:
    """A folder whose tables have none of the rows of this store."""
    shutil.copytree(store.folder, folder)
    for file in folder.rglob("*.parquet"):
        pq.write_table(pq.ParquetFile(file).read().slice(0, 0), file)
    return folder


@pytest.mark.parametrize("name", ["kind=topk/density=0.01/run", "a[1]*", "it's %20#?"])
def test_a_store_may_be_built_in_any_folder(plain, tiny_llama, tmp_path, name) -> None:
    store = made(tmp_path / name, tiny_llama)
    assert said(store) == said(plain)
    assert store.loss_effect(1, tiny_llama).rows[0]["firings"] and (tmp_path / name / "effects.sqlite").is_file()


def test_a_name_that_duckdb_cannot_read_is_one_sentence(plain, tmp_path) -> None:
    shutil.copytree(plain.folder, tmp_path / "a\\b*")
    with pytest.raises(ValueError, match=r"with a backslash and one of \* \? \[: rename the folder"):
        sk.FeatureStore.open(tmp_path / "a\\b*")


def test_a_table_is_read_from_the_files_of_the_manifest_alone(plain) -> None:
    truth = said(plain)
    for name in ("latents", "activations", "tokens", "documents"):
        first = schema.part_of(plain.folder, name, 0)
        for other in ("part-0000 (1).parquet", "part-0000-copy.parquet", "part-9999.parquet", "._part-0000.parquet"):
            shutil.copy(first, first.with_name(other))
    store = sk.FeatureStore.open(plain.folder)
    assert said(store) == truth
    pandas.testing.assert_frame_equal(store.latents(all=True), plain.latents(all=True))


def test_a_table_has_the_columns_of_the_schema_alone(plain) -> None:
    truth = said(plain)
    for file in schema.files_of(plain.folder, plain.manifest)["latents"]:
        table = pq.ParquetFile(file).read()
        pq.write_table(table.append_column("layer", pa.array([2] * len(table))), file)
    assert said(sk.FeatureStore.open(plain.folder)) == truth


def test_parts_come_by_number_beyond_four_digits(tmp_path) -> None:
    files = schema.files_of(tmp_path, {"parts": [[i, i + 1] for i in range(10_002)], "chunks": ["c"]})
    last = ["part-9999.parquet", "part-10000.parquet", "part-10001.parquet"]
    assert [file.name for file in files["latents"][-3:]] == last


def test_where_the_manifest_does_not_count_them_parts_are_those_in_a_row_from_0(plain) -> None:
    counted = schema.files_of(plain.folder, plain.manifest)
    shutil.copy(counted["latents"][0], schema.part_of(plain.folder, "latents", 9998))
    assert schema.files_of(plain.folder, {}) == counted


def test_another_working_folder_changes_nothing(plain, tiny_llama, tmp_path, monkeypatch) -> None:
    """A store opened, and one built, by a relative path; in the folder that is entered lies another of that name."""
    other = tmp_path / "second" / "store"
    other.parent.mkdir()
    monkeypatch.chdir(tmp_path / "second")
    assert made(Path("store"), tiny_llama, d_sae=24).folder == other.resolve()
    monkeypatch.chdir(tmp_path / "first")
    truth = said(plain)
    opened, browser = sk.FeatureStore.open("store"), sk.FeatureBrowser(sk.FeatureStore.open("./../first/store"))
    built = made(Path("store"), tiny_llama)
    monkeypatch.chdir(other.parent)
    assert said(opened) == said(built) == truth
    for store in (opened, built):
        store.set_label(1, label="mine", star=True)
        store.loss_effect(1, tiny_llama)
        store.labels.add_explanation(1, "the first", None, "you")
        assert store.dictionary.d_sae == 20
    browser.starred = [1, 4]
    assert sorted(browser._store.labels.all()) == [1, 4]
    assert not sk.FeatureStore.open("store").labels.all() and not list(other.glob("*.sqlite*"))
    assert plain.labels.get(1)["label"] == "mine"


def test_a_tilde_is_the_home_folder(plain, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(plain.folder)
    store = sk.FeatureStore.open("~/first/store")
    assert store.folder == plain.folder and repr(store).startswith("<FeatureStore ~/first/store: ")
    assert store.export_labels("~/labels.json") == tmp_path / "labels.json"
    assert store.import_labels("~/labels.json").labels == 0
    assert store.export_neuronpedia("~/exported") == tmp_path / "exported"
    assert sk.FeatureBrowser(store).export_html("~/page.html") == tmp_path / "page.html"
    assert not list(plain.folder.glob("~*"))


def test_the_path_is_shown_from_the_working_folder_on(plain, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert repr(plain).startswith(f"<FeatureStore {os.path.join('first', 'store')}: 20 latents")
    monkeypatch.chdir(plain.folder / "latents")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    assert repr(plain).startswith(f"<FeatureStore {plain.folder}: ")
