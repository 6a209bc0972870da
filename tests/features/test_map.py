"""feature_map: positions against a plain SVD, linking both ways without a front end, what is left out, errors."""

from __future__ import annotations

import base64
import json
import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saekit as sk
from saekit.features.showing.map import FAMILIES, NONE, OTHER, _families
from saekit.plots.scatter import MOST_DRAWN, points

pytest.importorskip("jscatter", reason="jupyter-scatter is not installed: pip install 'saekit[map]'")

SITE = "blocks.0.hook_resid_post"
DEAD = [3, 7]
TEXTS = ["the cat sat on the mat and the dog sat on it.", "a bird flew over the house, twice."] * 8


@pytest.fixture(scope="module")
def store(tiny_gpt2: Any, tmp_path_factory: pytest.TempPathFactory) -> sk.FeatureStore:
    """A store of 40 latents, of which those in DEAD cannot fire."""
    torch.manual_seed(0)
    dictionary = sk.TopK(d_sae=40, k=16).build(sk.Wiring(SITE), {SITE: 16})
    with torch.no_grad():
        dictionary.encoder_bias[DEAD] = -1e4
        dictionary.decoder_directions[5] *= 9.0  # a long row: only its direction may count
    dictionary.latent_max.copy_(torch.rand(40) + 0.5)
    folder = tmp_path_factory.mktemp("stores") / "plain"
    return sk.FeatureStore.build(tiny_gpt2, dictionary, TEXTS, folder, loss_examples=0)


def dead_of(store: sk.FeatureStore) -> list[int]:
    return store.sql("select latent from latents where firings = 0 order by latent")["latent"].tolist()


# -- positions --------------------------------------------------------------------------------------------------------


def test_positions_are_the_first_two_directions_of_a_plain_svd(store) -> None:
    made = sk.feature_map(store, method="pca")
    frame, dead = made.positions, dead_of(store)
    assert set(DEAD) <= set(dead) and frame["latent"].tolist() == [i for i in range(40) if i not in dead]
    rows = store.dictionary.decoder_directions.detach().double().numpy()[frame["latent"]]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    for name, direction in zip("xy", directions[:2], strict=True):
        sign = np.sign(direction[np.abs(direction).argmax()])  # the largest entry of each direction is positive
        np.testing.assert_allclose(frame[name], centred @ direction * sign, atol=1e-5)
    assert np.ptp(frame["x"]) > 0.5
    share = 100 * (sizes[:2] ** 2).sum() / (sizes**2).sum()
    assert f"hold {share:.1f} % of their variance" in made.method
    pd.testing.assert_frame_equal(
        frame, sk.feature_map(store, method="pca", seed=9).positions
    )  # nothing is drawn at random


def test_the_frame_holds_what_the_store_knows(store) -> None:
    store.set_label(12, label="my name")
    made = sk.feature_map(store)
    frame, latents = made.positions.set_index("latent"), store.latents()
    for latent in frame.index:
        assert frame["density"][latent] == pytest.approx(latents["density"][latent])
        assert frame["max"][latent] == pytest.approx(latents["max_activation"][latent])
    assert frame["label"][12] == "my name" and frame["label"][13] == "" and frame["hint"][13] != ""
    assert f"dead {len(dead_of(store))} of {len(dead_of(store)) + len(made.positions)} (" in repr(made)


def test_what_the_tooltip_says(store) -> None:
    store.set_label(12, label="<img src=x>")
    made = sk.feature_map(store)
    told: list[Any] = []
    made._scatter.widget.send = told.append
    row = made.positions["latent"].tolist().index(12)
    names = ["feature", "label", "density", "max"]
    made._scatter.widget._handle_custom_msg({"type": "tooltip", "index": row, "preview": None, "properties": names}, [])
    (said,) = told
    density = 100 * made.positions["density"][row]
    assert said["properties"]["feature"] == "12" and said["properties"]["label"] == "<img src=x>"
    assert said["properties"]["density"] == f"{density:.3g} %"
    assert made._scatter.widget.tooltip_enable and list(made._scatter.widget.tooltip_properties) == names


def test_what_the_map_is_worth_is_said(store) -> None:
    made = sk.feature_map(store, method="pca")
    assert made.worth is not None and 0 < made.worth.kept < 1
    for said in (made._framed().children[0].value, " ".join(made.chart().to_dict()["title"]["subtitle"])):
        assert f"Trustworthiness {made.worth.trustworthiness:.2f} (by chance 0." in said and "nearest by cosine" in said


# -- linking ----------------------------------------------------------------------------------------------------------


def click(made: Any, *latents: int) -> None:
    """As the front end says it: rows of the points that are chosen now."""
    rows = [made.positions["latent"].tolist().index(latent) for latent in latents]
    made._scatter.widget.set_state(
        {"selection": {"view": memoryview(np.array(rows, "<u4")), "dtype": "uint32", "shape": [len(rows)]}}
    )


def test_a_point_chosen_opens_in_the_browser_and_the_other_way_round(store) -> None:
    browser = sk.FeatureBrowser(store, feature=12)
    made = sk.feature_map(store, browser)
    assert made.browser is browser and made.selected == [12]
    opened: list[int] = []
    browser.on_select(opened.append)
    click(made, 20)
    assert browser.feature == 20 and made.selected == [20]
    browser.feature = 21
    assert made.selected == [21]
    click(made, 4, 6, 21)  # the lasso: many are chosen, the browser stays
    assert browser.feature == 21 and made.selected == [4, 6, 21]
    browser.feature = 6  # which is among them
    assert made.selected == [4, 6, 21]
    click(made)
    assert browser.feature == 6 and made.selected == []
    browser.feature = DEAD[0]  # no point to mark
    assert made.selected == []
    made.selected = [30]
    assert browser.feature == 30
    assert opened == [20, 21, 6, DEAD[0], 30]


def test_without_a_browser_points_are_only_chosen(store) -> None:
    made = sk.feature_map(store)
    click(made, 20)
    assert made.browser is None and made.selected == [20]
    with pytest.raises(ValueError, match=r"Latent 3 is not on the map: it is dead"):
        made.selected = [20, DEAD[0]]
    assert made.selected == [20]


def test_a_label_written_in_the_browser_reaches_the_map(store) -> None:
    browser = sk.FeatureBrowser(store, feature=12)
    made = sk.feature_map(store, browser)
    browser._reply({"kind": "label", "latent": 12, "label": "written later"})
    browser.feature = 13
    assert made.positions.set_index("latent")["label"][12] == "written later"
    assert made._scatter.widget.data.loc[made.positions["latent"] == 12, "label"].tolist() == ["written later"]


# -- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["density", "max"])
def test_a_saved_notebook_keeps_a_picture_and_little_else(store, colour) -> None:
    made = sk.feature_map(store, colour=colour)
    data, _ = made._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert data["text/plain"].startswith("<FeatureMap: ")
    card = made._card()
    (image,) = re.findall(r'src="data:image/png;base64,([^"]*)"', card)
    assert base64.b64decode(image).startswith(b"\x89PNG")
    assert f'data-saekit-saved="{made._live}"' in card and made._live in made.widget.children[0].value
    assert len(json.dumps(data)) + len(card) < 60_000


def test_a_store_over_arrays_has_a_map(tmp_path) -> None:
    dictionary = sk.TopK(d_sae=16, k=4).build(sk.Wiring("x"), {"x": 8})
    dictionary.latent_max.copy_(torch.ones(16))
    rows = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    made = sk.feature_map(sk.FeatureStore.build(rows, dictionary, None, tmp_path / "rows"))
    assert made.positions["f1"].isna().all() and len(made.positions) > 4


def test_colours_follow_the_numbers(store) -> None:
    made = sk.feature_map(store)
    shade = made._scatter.widget.points[:, 2]
    np.testing.assert_array_equal(
        np.argsort(shade, kind="stable"), np.argsort(made.positions["density"], kind="stable")
    )
    spec = made.chart().to_dict()
    assert spec["encoding"]["color"]["scale"]["type"] == "log" and spec["encoding"]["color"]["field"] == "density"
    made = sk.feature_map(store, colour="max")
    assert made.chart().to_dict()["encoding"]["color"]["scale"]["type"] == "linear"


def test_concepts_of_a_labelled_corpus(store, monkeypatch) -> None:
    names = ["code.body", "entity.city", "entity.person"]
    found = {"concepts": names, "concept": np.arange(40) % 4 - 1}
    columns = {**store.listing()["columns"], "f1": np.where(np.arange(40) % 3, 0.6, 0.2)}
    columns["f1"][found["concept"] < 0] = np.nan
    labelled = {**store.listing(), **found, "columns": columns}
    monkeypatch.setattr("saekit.features.showing.map.listing", lambda store: labelled)
    monkeypatch.setitem(store.manifest, "concepts", names)
    made = sk.feature_map(store, colour="concept")
    frame = made.positions
    clear = (frame["f1"] >= 0.3) & (frame["concept"] != "")
    assert set(frame["concept"]) == {*names, ""} and 0 < clear.sum() < len(frame)
    families = frame["concept"].str.split(".").str[0].where(clear, NONE)
    codes, order = made._scatter.widget.points[:, 2], made._order()
    assert [order[int(code)] for code in codes] == families.tolist()
    shades = made._scatter.widget.color
    assert len(shades) == len(order) and shades[order.index(NONE)] == pytest.approx([0x80 / 255] * 3 + [1], abs=1e-6)
    assert made.chart().to_dict()["encoding"]["color"]["scale"]["domain"] == order
    assert all(name in made._legend() for name in order)


def test_only_the_commonest_families_have_a_colour_of_their_own() -> None:
    names = [f"family{i}.{j}" for i in range(FAMILIES + 2) for j in range(3 + i)]
    frame = pd.DataFrame(
        {"concept": [*names, "rare.one", "family8.unclear", ""], "f1": [0.9] * len(names) + [0.9, 0.1, np.nan]}
    )
    found = _families(frame)
    assert set(found) == {f"family{i}" for i in range(2, FAMILIES + 2)} | {OTHER, NONE}
    assert found.tolist()[-3:] == [OTHER, NONE, NONE] and found.tolist()[0] == OTHER


def test_of_very_many_points_a_sample_is_drawn_and_said() -> None:
    frame = pd.DataFrame({"x": np.arange(9000.0), "y": 0.0, "density": 0.5})
    spec = points(frame, "x", "y", "density", subtitle="all").to_dict()
    (rows,) = spec["datasets"].values()
    assert len(rows) == MOST_DRAWN and spec["title"]["subtitle"] == ["all · 5,000 of 9,000 points drawn"]
    assert rows == next(iter(points(frame, "x", "y", "density").to_dict()["datasets"].values()))


# -- what cannot be ---------------------------------------------------------------------------------------------------


def test_what_is_not_installed_is_named_with_the_command(store, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs umap-learn: pip install umap-learn; method="pca"'):
        sk.feature_map(store, method="umap")
    monkeypatch.setitem(sys.modules, "jscatter", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs jupyter-scatter: pip install 'saekit\[map\]'"):
        sk.feature_map(store)


def test_umap_gets_unit_rows_the_cosine_and_the_seed(store, monkeypatch) -> None:
    asked: dict[str, Any] = {}

    class UMAP:
        def __init__(self, **settings: Any) -> None:
            asked.update(settings)

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            asked["norms"] = np.linalg.norm(rows, axis=1)
            return rows[:, :2].astype(np.float32)

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    made = sk.feature_map(store, method="umap", seed=7)
    np.testing.assert_allclose(asked.pop("norms"), 1, atol=1e-6)
    assert asked == {"n_components": 2, "metric": "cosine", "random_state": 7}
    rows = store.dictionary.decoder_directions.detach().numpy()[made.positions["latent"]]
    np.testing.assert_allclose(made.positions["x"], rows[:, 0] / np.linalg.norm(rows, axis=1), atol=1e-6)
    assert "UMAP" in made.method
    assert sk.feature_map(store, seed=7).positions["x"].equals(made.positions["x"])  # where it is there it is taken
    monkeypatch.setitem(sys.modules, "umap", None)
    assert sk.feature_map(store).method.startswith("PCA")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"method": "tsne"}, "method cannot be 'tsne'; the closest is '.*' .of auto, umap, pca"),
        ({"colour": "densty"}, "colour cannot be 'densty'; the closest is 'density' .of density, concept, max"),
        ({"colour": "concept"}, "that of the store has no labels"),
    ],
)
def test_wrong_wishes_are_answered_with_the_right_ones(store, wrong, said) -> None:
    with pytest.raises(ValueError, match=said):
        sk.feature_map(store, **wrong)


def test_a_store_in_which_nothing_fires(store, monkeypatch) -> None:
    silent = {**store.listing(), "columns": {**store.listing()["columns"], "density": np.zeros(40, "<f4")}}
    monkeypatch.setattr("saekit.features.showing.map.listing", lambda store: silent)
    with pytest.raises(ValueError, match="fires, so there is nothing to map"):
        sk.feature_map(store)
