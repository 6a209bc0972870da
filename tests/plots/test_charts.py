"""The charts hold the right numbers, draw without a network, and leave text as text."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from saekit import plots
from saekit.plots.charts import MOST_POINTS
from saekit.plots.renderer import VEGALITE, small
from saekit.plots.theme import ACT


def bundle(chart: object) -> tuple[dict, dict]:
    return chart._repr_mimebundle_()  # type: ignore[attr-defined]


def svg_text(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def curve() -> pd.DataFrame:
    tokens = np.arange(1, 1001) * 1000
    measured = np.where(np.arange(1000) % 10 == 0, 0.9 - 100 / tokens, np.nan)
    return pd.DataFrame({"tokens": tokens, "loss": 1 / np.sqrt(tokens), "explained_variance": measured})


def scores(concept: str = "entity.person") -> pd.DataFrame:
    row = {"latent": 7, "precision": 0.9, "recall": 0.8, "f1": 0.847, "token_f1": 0.4}
    return pd.DataFrame([{"concept": concept, **row}, {"concept": "low", **row, "f1": 0.1}])


def moved(token: str = " Mary") -> pd.DataFrame:
    return pd.DataFrame(
        {"token": [token, " a", "x", "x"], "before": [0.6, 0.2, 0.1, 0.0], "after": [0.1, 0.2, 0.4, 0.2]}
    )


def every_chart() -> list:
    return [
        plots.training_curve(curve()),
        plots.density_histogram([0.0, 0.1, 0.5]),
        plots.concept_scores(scores()),
        plots.next_token_change(moved()),
    ]


def test_bundle_holds_svg_spec_and_text_and_asks_for_nothing_outside() -> None:
    for chart in every_chart():
        data, metadata = bundle(chart)
        assert list(data) == [VEGALITE, "image/svg+xml", "text/plain"]
        assert data[VEGALITE]["$schema"].endswith("/vega-lite/v5.json")
        json.dumps(data[VEGALITE], allow_nan=False)
        assert data["text/plain"].startswith("<chart: ")
        svg = data["image/svg+xml"]
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "href=" not in svg and "@import" not in svg and "url(http" not in svg
        assert not metadata[VEGALITE]["embed_options"]["actions"]["editor"]
        assert len(json.dumps(data)) < 150_000


def test_the_picture_is_small_and_the_same() -> None:
    import vl_convert

    evil = ' opacity="1" <text font-family="x">'
    for chart in (*every_chart(), plots.next_token_change(moved(evil))):
        spec = chart.to_dict()
        drawn = vl_convert.vegalite_to_svg({**spec, "config": {**spec["config"], "background": "white"}})
        kept = small(drawn)
        assert len(kept) < len(drawn) - 1_500 and svg_text(kept) == svg_text(drawn)
        assert vl_convert.svg_to_png(kept) == vl_convert.svg_to_png(drawn)
        assert bundle(chart)[0]["image/svg+xml"] == kept


def test_papermill_can_store_it() -> None:
    import nbformat

    data, metadata = bundle(plots.density_histogram([0.1]))
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])]))


def test_every_axis_has_a_title_and_every_chart_a_tooltip() -> None:
    titles = [
        {"loss", "explained variance", "tokens trained on"},
        {"latents", "density: share of tokens on which a latent fires"},
        {"F1, token by token"},
        {"probability of the next token"},
    ]
    for chart, expected in zip(every_chart(), titles, strict=True):
        data, _ = bundle(chart)
        assert expected <= set(svg_text(data["image/svg+xml"]))
        assert '"tooltip"' in json.dumps(data[VEGALITE])


def test_training_curve_thins_but_keeps_both_ends_and_skips_gaps() -> None:
    spec = bundle(plots.training_curve(curve()))[0][VEGALITE]
    loss, variance = sorted(spec["datasets"].values(), key=lambda rows: "explained_variance" in rows[0])
    assert len(loss) == MOST_POINTS and (loss[0]["tokens"], loss[-1]["tokens"]) == (1000, 1_000_000)
    assert len(variance) == 100 and all(row["explained_variance"] is not None for row in variance)
    only_loss = plots.training_curve(curve()[["tokens", "loss"]])
    assert "explained variance" not in json.dumps(bundle(only_loss)[0][VEGALITE])


def test_density_histogram_counts_every_living_latent_and_names_the_dead() -> None:
    rng = np.random.default_rng(0)
    density = np.concatenate([np.zeros(37), 10 ** rng.uniform(-5, 0, 963), [1.0]])
    spec = bundle(plots.density_histogram(density))[0][VEGALITE]
    (bars,) = spec["datasets"].values()
    assert sum(bar["latents"] for bar in bars) == 964
    for bar in bars:
        assert bar["latents"] == ((density >= bar["from"]) & (density < bar["to"])).sum() + (bar["to"] == 1.0)
    assert "dead 37 of 1,001 (3.7 %)" in spec["title"]["subtitle"][1]
    assert "dead 2 of 2 (100.0 %)" in json.dumps(bundle(plots.density_histogram([0, 0]))[0][VEGALITE])


def test_next_token_change_takes_the_largest_moves_and_keeps_twins_apart() -> None:
    spec = bundle(plots.next_token_change(moved(), top=3))[0][VEGALITE]
    rows = next(rows for rows in spec["datasets"].values() if "when" not in rows[0])
    assert [(row["token"], round(row["change"], 6)) for row in rows] == [("␣Mary", -0.5), ("x", 0.3), ("x (2)", 0.2)]
    assert rows[0]["moved"] == "less likely"
    assert "30.0% after" in spec["title"]["subtitle"][1]  # 1 − (0.1 + 0.4 + 0.2)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("ground", ["#ffffff", "#111111", ACT])
def test_the_ring_of_a_concept_shows_on_light_on_dark_and_on_a_bar_and_stands_clear_of_the_names(ground) -> None:
    spec = bundle(plots.concept_scores(scores()))[0][VEGALITE]
    bar, edge, ring = spec["layer"]
    contrasts = []
    for part in (edge, ring):
        low, high = sorted(luminance(colour) for colour in (ground, part["mark"]["stroke"]))
        contrasts.append((high + 0.05) / (low + 0.05))
    assert max(contrasts) >= 4.5
    assert edge["mark"]["strokeWidth"] > ring["mark"]["strokeWidth"] + 2
    radius = math.sqrt(edge["mark"]["size"] / math.pi) + edge["mark"]["strokeWidth"] / 2
    assert bar["encoding"]["y"]["axis"]["labelPadding"] > radius  # of a ring at 0


def test_text_from_models_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    for chart in (plots.next_token_change(moved(evil)), plots.concept_scores(scores(evil))):
        svg = bundle(chart)[0]["image/svg+xml"]
        assert "<script" not in svg and any(text.startswith("<script>") for text in svg_text(svg))


def test_a_users_choice_of_renderer_stands() -> None:
    import altair

    plots.density_histogram([0.1])
    altair.renderers.enable("json")
    try:
        plots.density_histogram([0.1])
        assert altair.renderers.active == "json"
    finally:
        plots.enable()
    assert (altair.renderers.active, altair.theme.active) == ("saekit", "saekit")


def test_bad_frames_are_one_sentence() -> None:
    with pytest.raises(
        ValueError, match="columns latent, precision, recall, f1, token_f1, which are missing; found: concept"
    ):
        plots.concept_scores(pd.DataFrame({"concept": ["a"]}))
    with pytest.raises(ValueError, match="a frame without rows"):
        plots.next_token_change(moved().head(0))
    with pytest.raises(ValueError, match="'loss' or 'explained_variance'"):
        plots.training_curve(pd.DataFrame({"tokens": [1], "other": [2]}))
    for wrong in ([], [0.5, float("nan")], [-0.1], [1.5]):
        with pytest.raises(ValueError, match="a finite share"):
            plots.density_histogram(wrong)


def test_importing_plots_loads_neither_altair_nor_pandas() -> None:
    code = (
        "import saekit.plots, sys; print([m for m in ('altair', 'pandas', 'vl_convert', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    # `import saekit` itself may load torch; the charts add nothing.
    assert set(json.loads(out.replace("'", '"'))) <= {"torch"}
