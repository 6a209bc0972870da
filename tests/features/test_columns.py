"""Columns: each number of a latent once; a filter asked in SQL, in the page and by the plain rule; one of one's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import unpacked
from plain_list import passing
from saekit_widgets import FeatureBrowser
from written_store import random_store, write_store

from saekit.features import Column, FeatureStore, columns
from saekit.features.building.tables import table, write_table

SIZE = 300
WIDGETS = Path(__file__).parents[2] / "widgets"
ENTROPY = np.where(np.arange(SIZE) % 3 == 0, np.nan, (np.arange(SIZE) * 7 % 11) / 10).astype("f4")
FILTERS: list[dict[str, Any]] = [
    {},
    {"dead": True},
    {"starred": True},
    {"starred": True, "dead": True},
    {"search": "the"},
    {"search": " Tall big"},
    {"search": "борис"},
    {"search": "i̇"},  # what İ is in small letters, in Python and in JavaScript
    {"search": "14"},
    {"search": "007"},
    {"search": "A Name"},
    {"search": "of notes"},
    {"search": "TEXT"},  # of explanations
    {"search": "person"},  # of concepts
    {"search": " Tall"},  # a token
    {"search": "Tall", "max": [2, None]},
    {"concept": "code.bracket"},
    {"density": [0.07, 0.13]},  # .07 as float32 lies above .07, .13 below
    {"max": [None, 3.1], "f1": [0.3, None]},
    {"f1": [None, None]},
    {"loss_effect": [-0.05, 0.05], "starred": True},
    {"detection": [0.5, None]},
    {"entropy": [0.2, 0.7], "search": "x"},
]
SORTS: list[Any] = [
    None,
    ["latent", False],
    ["latent", True],
    *([name, way] for name in ("max", "loss_effect", "detection", "entropy") for way in (True, False)),
]


@pytest.fixture
def entropy(monkeypatch: pytest.MonkeyPatch) -> Column:
    """A column from outside of the package, registered for one test."""
    monkeypatch.setattr(columns, "_own", {})
    made = Column("entropy", "Entropy of its <b>documents</b>. {over}", lambda store: ENTROPY, unit="bits")
    columns.register(made)
    return made


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    alive = np.flatnonzero(~random_store(tmp_path / "made", SIZE).listing()["dead"])[20:24]
    tokens = {"place": range(4), "token": [2, 0, 2, 1], "document": [0] * 4, "position": range(4), "row": [0] * 4}
    write_table(tmp_path / "made", "tokens", 0, table("tokens", tokens | {"counted": [True] * 4}))
    firings = {"latent": alive[[0, 1, 1, 2, 3]], "place": [2, 1, 3, 0, 3], "value": [1.0, 2.0, 1.0, -3.0, 1.0]}
    write_table(tmp_path / "made", "activations", 0, table("activations", firings))
    made = FeatureStore.open(tmp_path / "made")
    assert made.firing_on(" Tall") == made.firing_on("Tall") == alive[[0, 2]].tolist()
    dead = int(np.flatnonzero(made.listing()["dead"])[0])
    for latent, star, label in ((3, True, "a name"), (dead, True, "A NAME of a dead one"), (8, False, "İ␣x")):
        made.set_label(latent, star=star, label=label)
    made.set_label(11, note="One of NOTES")
    for latent, score in ((3, 0.9), (9, 0.4), (10, 0.5)):
        made.labels.add_explanation(latent, f"text {latent}", None, "you", score, None)
    made.labels.add_explanation(9, "unscored", None, "you", None, None)
    return made


def by_the_rule(store: FeatureStore, filter: dict[str, Any], sort: list[Any] | None) -> list[int]:
    made = store.listing()
    kept = (
        made["columns"],
        made["usual"],
        made["dead"],
        made["concept"],
        made["concepts"],
        made["hints"],
        store.labels_since(0)[1],
    )
    return passing(*kept, filter, sort, store.firing_on(filter.get("search", "")))


def test_sql_shows_what_the_rule_says(store: FeatureStore, entropy: Column) -> None:
    lengths = set()
    for i, filter in enumerate(FILTERS):
        for sort in SORTS if i < 2 else SORTS[i % len(SORTS) :][:2]:
            found = store.matching(filter, sort)
            assert found == by_the_rule(store, filter, sort), (filter, sort)
        lengths.add(len(found))
    assert len(lengths) > 10  # the filters do let some pass, and not all


def test_the_page_shows_what_sql_says(store: FeatureStore, entropy: Column, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    browser = FeatureBrowser(store)
    head, buffers = browser._send_listing({})
    asked = [[filter, sort] for i, filter in enumerate(FILTERS) for sort in SORTS[i % 3 :: 3]]
    firing = {one["search"]: store.firing_on(one["search"]) for one in FILTERS if "search" in one}
    sent = {"head": head, "buffers": [list(buffer) for buffer in buffers], "asked": asked, "firing": firing}
    (tmp_path / "asked.json").write_text(json.dumps(sent))
    (tmp_path / "ask.mjs").write_text(
        f"import {{ readFileSync }} from 'node:fs';\n"
        f"import {{ decodeListing }} from {json.dumps(str(WIDGETS / 'src/feature_browser/listing.js'))};\n"
        f"import {{ matching }} from {json.dumps(str(WIDGETS / 'src/feature_browser/filtering.js'))};\n"
        f"const sent = readFileSync({json.dumps(str(tmp_path / 'asked.json'))});\n"
        "const { head, buffers, asked, firing } = JSON.parse(sent);\n"
        "const listing = decodeListing(head, buffers.map((one) => new DataView(Uint8Array.from(one).buffer)));\n"
        "for (const [search, latents] of Object.entries(firing)) listing.firing.set(search, latents);\n"
        "console.log(JSON.stringify(asked.map(([filter, sort]) => [...matching(listing, filter, sort)])));\n"
    )
    done = subprocess.run(["node", str(tmp_path / "ask.mjs")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (filter, sort), page in zip(asked, json.loads(done.stdout), strict=True):
        assert page == store.matching(filter, sort), (filter, sort)


def test_the_browser_gives_the_list_that_was_filtered(store: FeatureStore, entropy: Column) -> None:
    browser = FeatureBrowser(store, filter={"entropy": [0.5, None]}, sort=["entropy", True])
    frame = browser.latents(all=True)
    assert frame.latent.tolist() == by_the_rule(store, browser.filter, browser.sort)
    assert frame.entropy.is_monotonic_decreasing and frame.entropy.min() >= 0.5
    assert {"density", "max", "f1", "loss_effect", "detection", "label", "top_tokens"} <= set(frame.columns)
    everything = store.latents(all=True)
    assert everything.latent.tolist() == list(range(SIZE))
    assert everything["max"].tolist() == everything[["max_activation", "min_activation"]].abs().max(axis=1).tolist()
    assert store.latents({}).latent.tolist() == store.matching({}, None)


def test_one_entry_shows_a_column_everywhere(store: FeatureStore, entropy: Column, tmp_path: Path) -> None:
    listing, latent = store.listing(), 10
    assert np.array_equal(listing["columns"]["entropy"], ENTROPY, equal_nan=True)
    assert [one["name"] for one in listing["about"]][-1] == "entropy" and listing["about"][-1]["unit"] == "bits"
    assert np.array_equal(store.latents().entropy.to_numpy("f4"), ENTROPY, equal_nan=True)
    words = listing["definitions"]["entropy"]
    assert words["title"] == "Entropy" and words["code"] == "store.latents().entropy"
    assert words["text"] == "Entropy of its <b>documents</b>. Over 15,000 counted tokens; left out: 120 bos."
    assert store.view(latent)["numbers"]["entropy"] == {"value": pytest.approx(float(ENTROPY[latent]), rel=1e-5)}
    assert store.view(12)["numbers"]["entropy"] == {"value": None}
    assert f"entropy {ENTROPY[latent]:.4g} bits" in store.card(latent) and "entropy" not in store.card(12)
    browser = FeatureBrowser(store, feature=latent, filter={"entropy": [0.1, 0.9]}, sort=["entropy", False])
    page = browser.export_html(tmp_path / "page.html", features=[latent]).read_text(encoding="utf-8")
    data = unpacked(page)
    assert data["answers"]["listing"][0]["columns"][-1]["name"] == "entropy"
    assert data["answers"][f"feature:{latent}"][0]["view"]["numbers"]["entropy"] == {
        "value": pytest.approx(float(ENTROPY[latent]), rel=1e-5)
    }
    with pytest.raises(ValueError, match=r"filter does not know 'entropi'\. Did you mean 'entropy'"):
        browser.filter = {"entropi": [0, 1]}


def test_a_column_may_be_sql_and_what_it_gives_is_kept(store: FeatureStore, entropy: Column) -> None:
    asked: list[int] = []
    columns.register(Column("entropy", "Again.", lambda store: asked.append(1) or ENTROPY))  # as a cell run again does
    columns.register(Column("spread", "Its range.", "max_activation - min_activation", filterable=False))
    for _ in range(2):
        store.listing(), store.view(4)
    assert asked == [1] and [column.name for column in columns.all_columns()][-2:] == ["entropy", "spread"]
    frame = store.latents(all=True)
    assert frame.spread.tolist() == pytest.approx((frame.max_activation - frame.min_activation).tolist())
    assert store.view(4)["numbers"]["spread"]["value"] == frame.spread[4]
    with pytest.raises(ValueError, match="filter does not know 'spread'"):
        store.latents({"spread": [0, 1]})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "max"}, "has 'max' already: give the column another name, such as own_max"),
        ({"name": "firings"}, "has 'firings' already"),
        ({"name": "search"}, "has 'search' already"),
        ({"name": 'a" b'}, "a Python name such as 'entropy', found 'a\" b'"),
        ({"format": "percents"}, "one of fixed, percent, share, signed, whole, found 'percents'"),
        ({"scale": "logarithmic"}, "one of linear, log, found 'logarithmic'"),
    ],
)
def test_what_a_column_cannot_be(entropy: Column, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        columns.register(Column(**{"name": "other", "definition": "It.", "values": "density", **wrong}))


def test_a_function_of_another_length_is_named(store: FeatureStore, entropy: Column) -> None:
    columns.register(Column("short", "It.", lambda store: np.zeros(7)))
    with pytest.raises(ValueError, match=r"column 'short' gives \(7,\) numbers, the store has 300 latents"):
        store.listing()


def test_131_072_latents_are_filtered_fast(tmp_path: Path) -> None:
    size, rng = 131_072, np.random.default_rng(0)
    numbers = {"density": rng.random(size), "max_activation": 9 * rng.random(size), "loss_effect": rng.random(size)}
    store = write_store(tmp_path / "large", size, numbers)
    store.matching({}, ["max", True])
    began = time.process_time()  # of all threads: what others do on the machine does not count
    found = store.matching({"max": [3, None], "density": [0.5, None]}, ["loss_effect", True])
    seconds = time.process_time() - began
    assert len(found) > 1000 and seconds < 3 * 0.5, f"{seconds:.2f} s"
