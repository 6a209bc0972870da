"""heatmap: a number for each pair of two things, as a grid of cells, the darker the larger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saekit.plots.charts import require_columns
from saekit.plots.theme import ACT_INK, MONO, enable_once

if TYPE_CHECKING:
    import pandas

    from saekit.plots.charts import Chart

WIDTH, LEAST, MOST = 480, 2, 34  # pixels: of a grid; of a cell's width
NUMBERS = 100  # a grid of no more cells has its numbers written in it
DARK = 0.55  # of the largest: from here on the number is white


def heatmap(
    frame: pandas.DataFrame,
    x: str,
    y: str,
    value: str,
    *,
    highest: float | None = None,
    names: bool = True,
    title: str = "",
    subtitle: str = "",
) -> Chart:
    """A cell of `value` for each `x` and `y`, both in the order of the rows, the first `y` at the top; 0 is empty.

    Of at most 100 cells the numbers are written in them.
    highest: the value of the fullest colour, by default the largest. names: whether each `x` is named below it.
    frame: with columns of these names, a row a cell, no value negative. title, subtitle: above the chart."""
    import altair as alt

    require_columns(frame, [x, y, value], "heatmap")
    enable_once()
    columns, most = frame[x].nunique(), float(frame[value].max()) if highest is None else highest
    step = min(MOST, max(LEAST, WIDTH / columns))
    axis = alt.Axis(labelFont=MONO, labelLimit=220, domain=False, ticks=False)
    below = alt.Axis(labels=names, ticks=False, domain=False, labelAngle=0, labelOverlap="greedy")
    data = frame[[x, y, value]]
    base = alt.Chart(data).encode(
        x=alt.X(x, type="ordinal", sort=None, axis=below),
        y=alt.Y(y, type="nominal", sort=None, title=y, axis=axis),
        tooltip=[
            alt.Tooltip(x, type="nominal"),
            alt.Tooltip(y, type="nominal"),
            alt.Tooltip(value, type="quantitative", format=".3~g"),
        ],
    )
    scale = alt.Scale(domain=[0, most or 1], range=[0, 1], clamp=True)
    cells = base.mark_rect(color=ACT_INK).encode(
        opacity=alt.Opacity(value, type="quantitative", scale=scale, legend=None)
    )
    chart: Chart = cells
    if len(data) <= NUMBERS:
        ink = alt.condition(f"datum[{value!r}] > {DARK * (most or 1)}", alt.value("white"), alt.value(ACT_INK))
        numbers = base.mark_text(fontSize=11).encode(text=alt.Text(value, type="quantitative", format=".2f"), color=ink)
        chart = cells + numbers
    lines = [*([subtitle] if subtitle else []), f"empty: 0, full: {most:.3g}"]
    return chart.properties(width=alt.Step(step), height=alt.Step(20), title=alt.TitleParams(title, subtitle=lines))
