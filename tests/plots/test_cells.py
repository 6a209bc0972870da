"""heatmap: what it draws, and what it refuses."""

from __future__ import annotations

import pandas as pd
import pytest

from saekit.plots import heatmap
from saekit.plots.cells import LEAST, MOST
from saekit.plots.renderer import picture_html

FRAME = pd.DataFrame(
    {"latent": [7, 3, 7, 3], "layer": ["1", "1", "0", "0"], "share": [0.5, 0.0, 0.25, 1.0], "other": 1}
)


def test_cells_in_the_order_of_the_rows_with_their_numbers():
    chart = heatmap(FRAME, "latent", "layer", "share", title="T", subtitle="S").to_dict()
    cells, numbers = chart["layer"]
    assert cells["encoding"]["x"]["sort"] is None and cells["encoding"]["y"]["sort"] is None
    assert cells["encoding"]["opacity"]["scale"]["domain"] == [0, 1.0]
    assert numbers["encoding"]["text"]["field"] == "share" and "0.55" in str(numbers["encoding"]["color"])
    assert chart["title"]["subtitle"] == ["S", "empty: 0, full: 1"] and chart["width"] == {"step": MOST}
    (data,) = chart["datasets"].values()
    assert [row["share"] for row in data] == [0.5, 0, 0.25, 1] and "other" not in data[0]


def test_many_cells_are_narrow_and_without_numbers():
    frame = pd.DataFrame({"x": range(400), "y": "a", "v": 0.5})
    chart = heatmap(frame, "x", "y", "v", highest=2, names=False).to_dict()
    assert "layer" not in chart and chart["width"] == {"step": LEAST} and chart["mark"]["type"] == "rect"
    assert chart["encoding"]["opacity"]["scale"]["domain"] == [0, 2] and not chart["encoding"]["x"]["axis"]["labels"]


def test_all_zeros_are_drawn():
    nothing = heatmap(FRAME.assign(share=0.0), "latent", "layer", "share")
    assert nothing.to_dict()["layer"][0]["encoding"]["opacity"]["scale"]["domain"] == [0, 1]
    assert nothing._repr_mimebundle_()[0]["image/svg+xml"].startswith("<svg")


def test_as_a_picture_its_words_are_text():
    html = picture_html(heatmap(FRAME, "latent", "layer", "share"), '<b>"it"</b>')
    assert (
        html.startswith('<img alt="&lt;b&gt;&quot;it&quot;&lt;/b&gt;"') and 'src="data:image/png;base64,iVBOR' in html
    )


def test_refused():
    with pytest.raises(ValueError, match="heatmap needs the columns strength, which are missing"):
        heatmap(FRAME, "latent", "layer", "strength")
    with pytest.raises(ValueError, match="without rows"):
        heatmap(FRAME[:0], "latent", "layer", "share")
