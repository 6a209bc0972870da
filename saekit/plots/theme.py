"""The Altair theme `saekit`: small type, hairline axes, one colour for each meaning.

Text and axes name no colour of their own, only an opacity. JupyterLab hands its dark colours to Vega when its theme is
dark, and black is Vega's default otherwise, so the same chart reads on both. The colours of the data are mid-tones with
a contrast of at least 3 : 1 on white and on JupyterLab's dark #111111.
"""

from __future__ import annotations

from functools import cache
from typing import Any

ACCENT = "#1976d2"  # chosen, focus; in charts: the one line that matters
ACT = "#f5a524"  # activation, sequential
ACT_INK = "#a86400"  # edge of a pale activation
POS = "#0b8a94"  # signed, +: solid and filled. Teal of the widgets, lifted for 3 : 1 on dark
NEG = "#c9562f"  # signed, −: dashed or hollow. Rust of the widgets, lifted likewise
GREY = "#808080"  # whatever is only compared with
RING, RING_EDGE = "#333333", "#ffffff"  # compared with and drawn over a bar: dark in light, so that one of them shows

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def theme() -> dict[str, Any]:
    """The Vega-Lite configuration of every saekit chart (the shape that Altair's theme registry wants)."""
    ink2, hairline = 0.68, 0.14  # opacity of the text colour, as in the widgets
    return {
        "config": {
            "background": "transparent",
            "font": SANS,
            "view": {"stroke": None, "continuousWidth": 400, "continuousHeight": 190},
            "padding": {"left": 4, "top": 6, "right": 8, "bottom": 4},
            "title": {
                "anchor": "start",
                "frame": "group",
                "font": SANS,
                "fontSize": 13,
                "fontWeight": 600,
                "subtitleFont": SANS,
                "subtitleFontSize": 11,
                "subtitleFontWeight": 400,
                "subtitlePadding": 4,
                "offset": 10,
            },
            "style": {"group-subtitle": {"fillOpacity": ink2}},
            "axis": {
                "labelFont": SANS,
                "labelFontSize": 11,
                "labelOpacity": ink2,
                "labelPadding": 4,
                "titleFont": SANS,
                "titleFontSize": 11,
                "titleFontWeight": 400,
                "titleOpacity": ink2,
                "titlePadding": 6,
                "domainWidth": 1,
                "domainOpacity": 0.45,
                "tickWidth": 1,
                "tickSize": 4,
                "tickOpacity": 0.45,
                "gridWidth": 1,
                "gridOpacity": hairline,
                "gridColor": GREY,
            },
            "axisX": {"grid": False},
            "axisY": {"domain": False, "ticks": False},
            "legend": {
                "labelFont": SANS,
                "labelFontSize": 11,
                "titleFont": SANS,
                "titleFontSize": 11,
                "titleFontWeight": 400,
                "orient": "top",
                "columnPadding": 36,  # the reader's font may be wider than the one it was laid out with
            },
            "line": {"strokeWidth": 1.75, "color": ACCENT},
            "bar": {"color": ACCENT},
            "rule": {"strokeWidth": 1, "color": GREY},
            "range": {"category": [ACCENT, ACT_INK, POS, NEG, GREY]},
        }
    }


def enable() -> None:
    """Make the theme `saekit` and the offline renderer `saekit` Altair's current ones.

    Altair keeps one theme and one renderer for the whole process, so charts of your own get them too;
    `altair.theme.enable("default")` and `altair.renderers.enable("default")` go back.
    """
    import altair

    from saekit.plots.renderer import offline_bundle

    if "saekit" not in altair.theme.names():
        altair.theme.register("saekit", enable=False)(theme)  # type: ignore[arg-type]
        altair.renderers.register("saekit", offline_bundle)
    altair.theme.enable("saekit")
    altair.renderers.enable("saekit")


@cache
def enable_once() -> None:
    """`enable()` at the first chart and never again, so that a user's later choice stands."""
    enable()
