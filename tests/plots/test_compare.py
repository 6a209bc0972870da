"""Charts of comparisons: what they draw, and what they refuse."""

from __future__ import annotations

import pandas as pd
import pytest

from saekit.plots import bars, curves

FRAME = pd.DataFrame({"method": ["a", "a", "b", "b"], "L0": [4, 8, 4, 8], "kept": [0.1, 0.2, 0.3, 0.4], "other": 1})


def test_curves():
    chart = curves(FRAME, "L0", "kept", "method", log=True, title="T", subtitle="S").to_dict()
    assert chart["encoding"]["x"]["scale"]["type"] == "log" and chart["encoding"]["color"]["sort"] == ["a", "b"]
    assert chart["encoding"]["strokeDash"]["field"] == "method", "told apart without colour too"
    (data,) = chart["datasets"].values()
    assert [row["kept"] for row in data] == [0.1, 0.2, 0.3, 0.4] and "other" not in data[0]
    alone = curves(FRAME, "L0", "kept", zero=True).to_dict()["encoding"]
    assert "color" not in alone and alone["y"]["scale"] == {"zero": True}


def test_bars():
    frame = pd.DataFrame({"method": ["b", "a"], "MCC": [0.25, 0.5]})
    chart = bars(frame, "method", "MCC", highest=1).to_dict()
    bar, number = chart["layer"]
    assert bar["encoding"]["x"]["scale"] == {"domain": [0, 1]} and bar["encoding"]["y"]["sort"] is None
    assert number["encoding"]["text"]["format"] == ".2f"
    counts = bars(pd.DataFrame({"method": ["b", "a"], "latents": [1, 2000]}), "method", "latents").to_dict()
    assert counts["layer"][1]["encoding"]["text"]["format"] == ",d"


def test_refused():
    with pytest.raises(ValueError, match="curves needs the columns kind, which are missing"):
        curves(FRAME, "L0", "kept", "kind")
    with pytest.raises(ValueError, match="without rows"):
        bars(FRAME[:0], "method", "kept")


def test_names_in_a_legend_do_not_run_into_one_another(browser):
    names = ["0123456789 with a long name", "another"]
    frame = pd.DataFrame({"x": [1, 2] * 2, "y": [1, 2, 2, 1], "name": [n for n in names for _ in range(2)]})
    svg = curves(frame, "x", "y", "name")._repr_mimebundle_()[0]["image/svg+xml"]
    page = browser.new_page()
    page.set_content(svg)
    right = page.locator(".role-legend-label text").first.evaluate("text => text.getBoundingClientRect().right")
    left = page.locator(".role-legend-symbol path").nth(1).evaluate("mark => mark.getBoundingClientRect().left")
    page.close()
    assert right < left, "the browser's font may be wider than the one that the chart was laid out with"
