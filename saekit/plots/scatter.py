"""Many points in a plane, coloured by a number or by a name: a picture small enough for a saved notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from saekit.plots.charts import require_columns
from saekit.plots.theme import GREY, enable_once

if TYPE_CHECKING:
    import altair
    import pandas

# Mid-tones, seen on white and on a dark page: few to many, and names.
RAMP = ["#5a78d1", "#a166c4", "#d9568b", "#ee7a3a"]
NAMES = ["#1976d2", "#d9662b", "#2a9d5c", "#a166c4", "#c28a00", "#d6477f", "#0b96a3"]
MOST_DRAWN = 5000  # of a picture; more cannot be told apart and make it heavy
SEED = 0


def points(
    frame: pandas.DataFrame,
    x: str,
    y: str,
    colour: str,
    *,
    log: bool = False,
    order: Sequence[str] = (),
    grey: Sequence[str] = (),
    title: str = "",
    subtitle: str = "",
) -> altair.Chart:
    """A point for each row, with neither axes nor tooltips: what counts is what lies beside what.

    colour: a column of numbers (log: in powers), or of names, of which there are no more than eight colours; `order`
    is that of the legend, those in `grey` stand back. Of more than 5,000 rows a seeded sample is drawn, and said.
    frame: with columns x and y of these names. title, subtitle: above the chart."""
    import altair as alt
    import pandas

    require_columns(frame, [x, y, colour], "points")
    enable_once()
    data = frame[[x, y, colour]]
    if len(data) > MOST_DRAWN:
        subtitle = f"{subtitle}{' · ' if subtitle else ''}{MOST_DRAWN:,} of {len(data):,} points drawn"
        data = data.sample(MOST_DRAWN, random_state=SEED)
    if pandas.api.types.is_numeric_dtype(data[colour]):
        scale = alt.Scale(type="log" if log else "linear", range=RAMP, interpolate="rgb", nice=False)
        legend = alt.Legend(title=colour, gradientLength=160, gradientThickness=8, tickCount=4, format="~g")
        channel = alt.Color(colour, type="quantitative", scale=scale, legend=legend)
    else:
        names = list(order) or sorted(data[colour].unique())
        scale = alt.Scale(domain=names, range=colours(names, grey))
        channel = alt.Color(colour, type="nominal", scale=scale, legend=alt.Legend(title=colour, columns=5))
    still = alt.Axis(title=None, labels=False, ticks=False, domain=False, grid=False)
    back = alt.FieldOneOfPredicate(colour, list(grey))  # what stands back is smaller, paler, and below the rest
    data = data.iloc[(~data[colour].isin(grey)).argsort(kind="stable")]
    chart = alt.Chart(data).mark_circle()
    chart = chart.encode(
        x=alt.X(x, type="quantitative", axis=still, scale=alt.Scale(zero=False)),
        y=alt.Y(y, type="quantitative", axis=still, scale=alt.Scale(zero=False)),
        color=channel,
        size=alt.condition(back, alt.value(9), alt.value(13 if not grey else 26)),
        opacity=alt.condition(back, alt.value(0.45), alt.value(0.8)),
    )
    chart = chart.properties(padding={"left": 14, "top": 6, "right": 8, "bottom": 4})
    return chart.properties(width=520, height=340, title=alt.TitleParams(title, subtitle=subtitle.splitlines()))


def colours(names: Sequence[str], grey: Sequence[str] = ()) -> list[str]:
    """A colour for each name, those in `grey` a grey one; past seven they come round again."""
    free = iter(NAMES * (len(names) // len(NAMES) + 1))
    return [GREY if name in grey else next(free) for name in names]
