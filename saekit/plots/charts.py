"""The charts of a first look: how training went, how often latents fire, which concepts they match, what an edit moved.

Every function takes a pandas frame or a plain sequence and returns an Altair chart with a title, axes with units, and
tooltips; `chart.data`, `.properties(width=…)` and `.save("x.svg")` work as always.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from saekit.plots.theme import ACT, ACT_INK, MONO, NEG, POS, RING, RING_EDGE, enable_once
from saekit.plots.tokens import shown

if TYPE_CHECKING:
    import altair
    import pandas

    Chart = altair.Chart | altair.LayerChart | altair.VConcatChart

MOST_POINTS = 200  # of a curve: a point every two pixels; more carry nothing and make the notebook heavy


def training_curve(frame: pandas.DataFrame, *, title: str = "Training") -> Chart:
    """Loss, and explained variance where it was measured, against the tokens trained on; one panel each, one axis.

    frame: columns `tokens` and at least one of `loss`, `explained_variance`; rows with a gap there are left out.
    title: above the chart.
    Raises ValueError for columns that are missing and a frame without rows.
    """
    import altair as alt

    require_columns(frame, ["tokens"], "training_curve")
    panels = [
        (column, name, colour)
        for column, name, colour in [("loss", "loss", ACT_INK), ("explained_variance", "explained variance", POS)]
        if column in frame and frame[column].notna().any()
    ]
    if not panels:
        columns = ", ".join(map(str, frame.columns))
        raise ValueError(
            f"training_curve needs a column 'loss' or 'explained_variance' with numbers; the columns are {columns}."
        )
    enable_once()
    reach = [0, int(frame["tokens"].max())]

    def panel(column: str, name: str, colour: str, last: bool) -> Chart:
        data = _thin(frame.loc[frame[column].notna(), ["tokens", column]])
        x = alt.X(
            "tokens:Q",
            scale=alt.Scale(domain=reach, nice=False),
            axis=alt.Axis(
                title="tokens trained on" if last else None,
                labels=last,
                labelExpr="format(datum.value, '~s')",
                tickCount=6,
            ),
        )
        y = alt.Y(f"{column}:Q", title=name, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4))
        tooltip = [
            alt.Tooltip("tokens:Q", format=",", title="tokens"),
            alt.Tooltip(f"{column}:Q", format=".4f", title=name),
        ]
        line = alt.Chart(data).mark_line(color=colour).encode(x, y)
        touch = alt.Chart(data).mark_point(size=90, opacity=0, fill=colour, aria=False).encode(x, y, tooltip=tooltip)
        return (line + touch).properties(height=110 if len(panels) > 1 else 190)

    rows = [panel(*one, last=one is panels[-1]) for one in panels]
    ends = " · ".join(f"{name} {frame[column].dropna().iloc[-1]:.4g}" for column, name, _ in panels)
    heading = alt.TitleParams(title, subtitle=f"{reach[1]:,} tokens; at the end {ends}")
    return alt.vconcat(*rows, spacing=14).properties(title=heading)


def density_histogram(density: Iterable[float], *, bins: int = 40, title: str = "How often the latents fire") -> Chart:
    """How many latents fire how often: a histogram of log10(density). Dead latents are counted in words, not drawn.

    density: for each latent, the share of counted tokens on which it is not zero, in [0, 1]; ValueError for others.
    bins: of equal width. title: above the chart.
    """
    import altair as alt
    import numpy as np
    import pandas as pd

    values = np.asarray(list(density), dtype=float)
    if values.size == 0 or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError("density_histogram needs the density of at least one latent, each a finite share in [0, 1].")
    enable_once()
    alive = values[values > 0]
    dead = values.size - alive.size
    low = math.floor(np.log10(alive.min())) if alive.size else -4
    counts, edges = np.histogram(np.log10(alive), bins=bins, range=(low, 0))
    data = pd.DataFrame({"from": 10.0 ** edges[:-1], "to": 10.0 ** edges[1:], "latents": counts, "zero": 0})
    data = data[data["latents"] > 0]
    facts = [
        f"{values.size:,} latents, median density {np.median(values):.2%}",
        f"dead {dead:,} of {values.size:,} ({100 * dead / values.size:.1f} %): silent on every token here, not drawn",
    ]
    domain, decades = [10.0**low, 1.0], [10.0**power for power in range(low, 1)]
    bars = (
        alt.Chart(data, title=alt.TitleParams(title, subtitle=facts))
        .mark_bar(color=ACT, stroke=ACT_INK, strokeWidth=0.5, binSpacing=0)
        .encode(
            x=alt.X(
                "from:Q",
                scale=alt.Scale(type="log", domain=domain, nice=False),
                axis=alt.Axis(title="density: share of tokens on which a latent fires", values=decades, format="~%"),
            ),
            x2="to:Q",
            y2="zero:Q",
            y=alt.Y("latents:Q", title="latents", axis=alt.Axis(tickCount=4, format="~s", tickMinStep=1)),
            tooltip=[
                alt.Tooltip("from:Q", format=".4%", title="density from"),
                alt.Tooltip("to:Q", format=".4%", title="to"),
                alt.Tooltip("latents:Q", format=",", title="latents"),
            ],
        )
    )
    return bars.properties(height=150)


def concept_scores(frame: pandas.DataFrame, *, top: int = 30, title: str = "Concepts found by single latents") -> Chart:
    """F1 of the best latent for each concept, beside what a single token achieves (hollow): the spelling baseline.

    frame: a row a concept; columns `concept`, `latent`, `precision`, `recall`, `f1`, `token_f1`.
    top:   how many concepts to draw, best F1 first.
    title: above the chart.
    Raises ValueError for columns that are missing and a frame without rows.
    """
    import altair as alt

    require_columns(frame, ["concept", "latent", "precision", "recall", "f1", "token_f1"], "concept_scores")
    enable_once()
    data = frame.sort_values("f1", ascending=False).head(top)
    data = data[["concept", "latent", "precision", "recall", "f1", "token_f1"]]
    words = ["bar: best latent · ring: best single token"]
    if len(frame) > top:
        words.append(f"the best {top} of {len(frame)} concepts")
    tooltip = [
        alt.Tooltip("concept:N"),
        alt.Tooltip("latent:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("f1", "precision", "recall")),
        alt.Tooltip("token_f1:Q", format=".3f", title="f1 of the best token"),
    ]
    # The names stand clear of a ring at 0.
    names = alt.Axis(labelFont=MONO, labelLimit=160, labelPadding=12, domain=True)
    y = alt.Y("concept:N", sort=None, title=None, axis=names)
    axis = alt.Axis(title="F1, token by token", values=[0, 0.25, 0.5, 0.75, 1], format=".2~f", grid=True)
    base = alt.Chart(data).encode(y=y)
    unit = alt.Scale(domain=[0, 1])
    bars = base.mark_bar(color=ACT, stroke=ACT_INK, strokeWidth=0.5, height=7).encode(
        x=alt.X("f1:Q", scale=unit, axis=axis), tooltip=tooltip
    )

    def ring(stroke: str, width: float) -> Chart:
        mark = base.mark_point(shape="circle", size=110, filled=False, stroke=stroke, strokeWidth=width, opacity=1)
        return mark.encode(x=alt.X("token_f1:Q", scale=unit, axis=axis), tooltip=tooltip)

    heading = alt.TitleParams(title, subtitle=words)
    # Dark within light: one of them stands out from a bar, a white page and a dark one.
    return (bars + ring(RING_EDGE, 4.5) + ring(RING, 2)).properties(height=alt.Step(20), width=300, title=heading)


def next_token_change(
    frame: pandas.DataFrame, *, top: int = 12, title: str = "Next token, before and after the edit"
) -> Chart:
    """The next-token probabilities that an edit moved most: hollow before, filled after, one row a token.

    frame: columns `token` (text as the tokenizer gives it), `before`, `after` (probabilities in [0, 1]).
    top:   how many tokens to draw, by |after − before|.
    title: above the chart.
    Raises ValueError for columns that are missing and a frame without rows.
    """
    import altair as alt
    import pandas as pd

    require_columns(frame, ["token", "before", "after"], "next_token_change")
    enable_once()
    order = (frame["after"] - frame["before"]).abs().sort_values(ascending=False, kind="stable").index[:top]
    data = frame.loc[order, ["token", "before", "after"]].reset_index(drop=True)
    data["change"] = data["after"] - data["before"]
    data["moved"] = ["more likely" if change > 0 else "less likely" for change in data["change"]]
    data["token"] = _unlike([shown(token, spaces=True) for token in data["token"]])
    rest = max(1 - frame.loc[order, "after"].sum(), 0.0)
    ends = pd.concat([data.assign(when="before", p=data["before"]), data.assign(when="after", p=data["after"])])
    words = ["ring: before · filled: after · dashed: less likely", f"all other tokens together: {rest:.1%} after"]
    y = alt.Y(
        "token:N", sort=None, title=None, axis=alt.Axis(labelFont=MONO, labelFontSize=12, labelPadding=9, grid=True)
    )
    axis = alt.Axis(title="probability of the next token", format="~%", grid=True, tickCount=6)
    moves = ["more likely", "less likely"]
    colour = alt.Color("moved:N", scale=alt.Scale(domain=moves, range=[POS, NEG]), legend=None)
    tooltip = [
        alt.Tooltip("token:N"),
        alt.Tooltip("before:Q", format=".2%"),
        alt.Tooltip("after:Q", format=".2%"),
        alt.Tooltip("change:Q", format="+.2%"),
    ]
    base = alt.Chart(data).encode(y=y, color=colour, tooltip=tooltip)
    dash = alt.StrokeDash("moved:N", scale=alt.Scale(domain=moves, range=[[1, 0], [4, 2]]), legend=None)
    lines = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("before:Q", axis=axis, scale=alt.Scale(zero=True)), x2="after:Q", strokeDash=dash
    )
    fill = alt.condition("datum.when == 'after'", colour, alt.value("transparent"))
    dots = (
        alt.Chart(ends)
        .mark_point(size=60, strokeWidth=1.75, opacity=1)
        .encode(y=y, x="p:Q", stroke=colour, fill=fill, tooltip=tooltip)
    )
    heading = alt.TitleParams(title, subtitle=words)
    return (lines + dots).properties(height=alt.Step(22), width=300, title=heading)


def require_columns(frame: Any, columns: Sequence[str], function: str) -> None:
    """Raise ValueError, in the name of the chart's function, for columns that are missing and a frame without rows."""
    missing = [column for column in columns if column not in frame]
    if missing:
        found = ", ".join(map(str, frame.columns))
        raise ValueError(f"{function} needs the columns {', '.join(missing)}, which are missing; found: {found}.")
    if len(frame) == 0:
        raise ValueError(f"{function} got a frame without rows; there is nothing to draw.")


def _thin(frame: pandas.DataFrame) -> pandas.DataFrame:
    """At most MOST_POINTS rows, evenly chosen, the first and the last among them."""
    n = len(frame)
    if n <= MOST_POINTS:
        return frame
    return frame.iloc[[round(k * (n - 1) / (MOST_POINTS - 1)) for k in range(MOST_POINTS)]]


def _unlike(labels: Sequence[str]) -> list[str]:
    """The labels with (2), (3) … after repeats, since two tokens that look alike are still two rows."""
    seen: dict[str, int] = {}
    out = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        out.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return out
