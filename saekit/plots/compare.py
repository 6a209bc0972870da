"""Charts of comparisons: curves of a number against another, bars of one number for several things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saekit.plots.charts import require_columns
from saekit.plots.theme import ACCENT, ACT_INK, GREY, MONO, NEG, POS, enable_once

if TYPE_CHECKING:
    import pandas

    from saekit.plots.charts import Chart

MOST_POINTS = 40  # a curve with more is drawn without them
DASHES = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [1, 3]]  # so that curves differ without colour too


def curves(
    frame: pandas.DataFrame,
    x: str,
    y: str,
    by: str | None = None,
    *,
    log: bool = False,
    zero: bool = False,
    title: str = "",
    subtitle: str = "",
) -> Chart:
    """`y` against `x`, a curve with points for each value of `by` (five at most look different).

    log: the axis of `x` counts in powers. zero: the axis of `y` begins at 0. Column names are the axes' titles.
    frame: with columns of these names. title, subtitle: above the chart."""
    import altair as alt

    require_columns(frame, [name for name in (x, y, by) if name is not None], "curves")
    enable_once()
    scale = alt.Scale(type="log", nice=False, padding=10) if log else alt.Scale(zero=False)
    axis = alt.Axis(tickCount=5, format="~g", labelOverlap="greedy", labelSeparation=6)
    encoding = {
        "x": alt.X(x, type="quantitative", scale=scale, axis=axis if log else alt.Undefined),
        "y": alt.Y(y, type="quantitative", scale=alt.Scale(zero=zero), axis=alt.Axis(tickCount=5, grid=True)),
        "tooltip": [
            *([alt.Tooltip(by, type="nominal")] if by else []),
            alt.Tooltip(x, type="quantitative", format=",.4~g"),
            alt.Tooltip(y, type="quantitative", format=".4~g"),
        ],
    }
    if by is not None:
        order = list(dict.fromkeys(frame[by].tolist()))
        colours = [ACCENT, ACT_INK, POS, NEG, GREY]
        encoding["color"] = alt.Color(
            by, type="nominal", sort=order, scale=alt.Scale(domain=order, range=colours[: len(order)])
        )
        encoding["strokeDash"] = alt.StrokeDash(
            by, type="nominal", sort=order, scale=alt.Scale(domain=order, range=DASHES[: len(order)])
        )
    crowded = len(frame) > MOST_POINTS * (1 if by is None else frame[by].nunique())
    point = False if crowded else alt.OverlayMarkDef(size=45, filled=True, opacity=1)
    chart = alt.Chart(frame[[name for name in (x, y, by) if name is not None]])
    chart = chart.mark_line(point=point).encode(**encoding)
    return chart.properties(height=190, title=alt.TitleParams(title, subtitle=[subtitle] if subtitle else []))


def bars(
    frame: pandas.DataFrame, name: str, value: str, *, highest: float | None = None, title: str = "", subtitle: str = ""
) -> Chart:
    """A bar of `value` for each `name`, in the order of the rows, with its number beside it; counts are whole.

    highest: where the axis ends.
    frame: with columns of these names. title, subtitle: above the chart."""
    import altair as alt

    require_columns(frame, [name, value], "bars")
    enable_once()
    domain = alt.Undefined if highest is None else [0, highest]
    base = alt.Chart(frame[[name, value]]).encode(
        y=alt.Y(
            name, type="nominal", sort=None, title=None, axis=alt.Axis(labelFont=MONO, labelLimit=220, domain=True)
        ),
        x=alt.X(value, type="quantitative", scale=alt.Scale(domain=domain), axis=alt.Axis(grid=True, tickCount=5)),
        tooltip=[alt.Tooltip(name, type="nominal"), alt.Tooltip(value, type="quantitative", format=".4~g")],
    )
    numbers = base.mark_text(align="left", dx=4, fontSize=11, opacity=0.68).encode(
        text=alt.Text(value, type="quantitative", format=",d" if frame[value].dtype.kind in "iu" else ".2f")
    )
    chart = base.mark_bar(color=ACCENT, height=12) + numbers
    return chart.properties(height=alt.Step(22), title=alt.TitleParams(title, subtitle=[subtitle] if subtitle else []))
