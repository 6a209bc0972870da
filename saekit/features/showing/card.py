"""One feature as static HTML: what is left of the browser on GitHub, in a converted notebook, and without a kernel.

No script and no address. Text is escaped; colours follow JupyterLab's theme and fall back to dark ink on white. Where
styles are stripped, tables, headings and bold peaks still say the same, since no number is told by colour alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saekit.features.columns import all_columns
from saekit.features.showing.card_heads import heads_table
from saekit.features.showing.card_style import STYLE
from saekit.features.showing.card_text import card_text
from saekit.files.paths import resolved
from saekit.files.writing import write_atomically
from saekit.plots.tokens import concordance, shown

if TYPE_CHECKING:
    from saekit_widgets.protocols import FeatureView

EXAMPLES, LOGITS, NEIGHBOURS = 8, 6, 6
AFTER = 64  # columns of an example from its peak on: as many as fit beside the panels
_WIDTH, _HEIGHT = 292, 60  # of a histogram, in its own units; it is drawn as wide as its column

_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    "<title>{title}</title><style>:root{{color-scheme:light dark}}body{{margin:12px;background:Canvas}}</style></head>"
    "<body>{body}</body></html>\n"
)


@dataclass(frozen=True, repr=False)
class Card:
    """One feature, drawn by a notebook; `.html` is what it draws, `.save(path)` writes it as a page. See
    `feature_card`."""

    view: FeatureView
    title: str
    facts: str
    label: str = ""
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def html(self) -> str:
        """What a notebook draws."""
        return feature_card(self.view, self.title, self.facts, self.label, self.names)

    def save(self, path: str | Path) -> Path:
        """Write it as a page of its own, such as "feature_12.html", and return its path: a few kB, without script,
        address or path of this machine. With examples of every kind and a list: browser.export_html(path, features=12).

        Raises ValueError for a folder."""
        file = resolved(path, "path")
        if file.is_dir():
            raise ValueError(f"path is a file to write, as {str(file / 'feature.html')!r}; {str(file)!r} is a folder.")
        short = re.split(r"[\\/]", self.title)[-1]
        body = feature_card(self.view, short, self.facts, self.label, self.names)
        page = _PAGE.format(title=escape(f"{short} · {self.view['latent']}"), body=body)
        write_atomically(file, lambda new: new.write_text(page, encoding="utf-8"))
        return file

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return card_text(self.view, self.title, _summary(self.view), self.label, self.names)


def feature_card(
    view: FeatureView, title: str, facts: str, label: str = "", names: Mapping[int, str] | None = None
) -> str:
    """Compact HTML of one feature: its numbers, strongest examples, histogram, logits and neighbours.

    title: the store. facts: what it was made from. label: what the feature was called, if anything.
    names: what its neighbours are called, by latent.
    A panel that the store cannot fill says why, in the words of `view["absent"]`.
    """
    name = f" <b>{escape(label)}</b>" if label else ""
    heading = f"<h4><code>{view['latent']}</code>{name}</h4>"
    short = "/".join(re.split(r"[\\/]", title)[-2:])  # of a long path, the end
    where = f'<p class="small"><span title="{escape(title)}">{escape(short)}</span> · {escape(facts)}</p>'
    panels = "".join([_histogram(view), _heads(view), _logits(view), _neighbours(view, names or {})])
    main = f'<div class="main">{_examples(view)}</div><div class="side">{panels}</div>'
    return (
        f'{STYLE}<div class="saekit-feature">{heading}<p class="facts">{escape(_summary(view))}</p>{where}'
        f'<div class="columns">{main}</div></div>'
    )


def _summary(view: FeatureView) -> str:
    """The feature in one line."""
    if not view["firings"]:
        return "dead: it never fired in this store"
    said = ["alive"]
    for column in all_columns():
        fact, words = view["numbers"].get(column.name), column.words
        if fact is None or fact["value"] is None:
            continue
        what = f"{words['of']} {shown(fact['what'])} {words['head']}" if "what" in fact else words["title"]
        unit = f" {words['unit']}" if words["unit"] else ""
        write = partial(_named, words["names"]) if words.get("names") else _WRITE[words["format"]]
        said.append(f"{what} {write(fact['value'])}{unit}" + (f", {fact['aside']}" if "aside" in fact else ""))
        if "low" in fact:
            said.append(f"min {write(fact['low'])}{unit}")
    return " · ".join(said)


def _examples(view: FeatureView) -> str:
    found = view["examples"].get("top") or []
    if not view["firings"]:
        following = view["next_alive"]
        hint = "" if following is None else f" The next feature that fires is <code>{following}</code>."
        return _panel(
            "Examples",
            "<p>This feature never fired in this store, so it has no examples and no histogram. Its decoder row still "
            f"has a direction, but its logits and neighbours mean nothing without firings.{hint}</p>",
        )
    if not found:
        return _panel("Examples", _why(view, "examples"))
    rows = [(example["pieces"], example["values"], example["peak"]) for example in found[:EXAMPLES]]
    strongest = max(view["maximum"], -view["minimum"])
    return _panel("Strongest examples", concordance(rows, maximum=strongest, after=AFTER).html)


def _histogram(view: FeatureView) -> str:
    """The bars carry the colours of the tokens, so that the histogram is their legend."""
    histogram = view["histogram"]
    if histogram is None or not view["firings"]:
        return "" if not view["firings"] else _panel("Activations", _why(view, "histogram"))
    edges, counts = list(histogram["edges"]), list(histogram["counts"])
    low, high = float(edges[0]), float(edges[-1])
    strongest = max(abs(low), abs(high)) or 1.0
    bars: dict[str, list[str]] = {"plus": [], "minus": []}
    ends: dict[str, list[str]] = {"plus": [], "minus": []}  # the upper edges
    for i, x, width, height in _bars(counts):
        middle = (edges[i] + edges[i + 1]) / 2
        share = 0.1 + 0.9 * min(abs(middle) / strongest, 1.0)
        sign = "minus" if middle < 0 else "plus"
        bars[sign].append(f'<path opacity="{f"{share:.2f}".lstrip("0")}" d="{_box(x, width, height)}"/>')
        ends[sign].append(_box(x, width, height, top=1))
    drawn = "".join(
        f'<g class="{sign}" fill="#f5a524">{"".join(bars[sign])}</g>'
        f'<path class="edge {sign}" fill="#a86400" d="{"".join(ends[sign])}"/>'
        for sign in bars
        if bars[sign]
    )
    words = f"{_number(low)} to {_number(high)}"
    mean = "" if view["mean"] is None else f"mean {_number(view['mean'])}"
    axis = f'<table class="axis"><tr><td>{_number(low)}</td><td>{mean}</td><td>max {_number(high)}</td></tr></table>'
    return _panel(
        "Activations",
        _svg(drawn, f"histogram of {view['firings']:,} activations, {words}, heights logarithmic") + axis,
        f"{_percent(1 - view['density'])} % at zero",
    )


def _logits(view: FeatureView) -> str:
    logits = view["logits"]
    if logits is None and "logits" not in view["absent"]:
        return ""
    if logits is None:
        return _panel("Logits", _why(view, "logits"))
    counts, edges = list(logits["counts"]), list(logits["edges"])
    boxes: dict[str, list[str]] = {"down": [], "up": []}
    for i, x, width, height in _bars(counts):
        side = "down" if edges[i] + edges[i + 1] < 0 else "up"
        boxes[side].append(_box(x, max(width - 0.8, 0.4), height))
    bars = "".join(f'<path class="{side}" fill="#808080" d="{"".join(found)}"/>' for side, found in boxes.items())
    ends = f"{_number(edges[0])} to {_number(edges[-1])}"
    words = f"histogram of the logit effect on every token, {ends}, heights logarithmic"
    top, bottom = list(logits["top"])[:LOGITS], list(logits["bottom"])[:LOGITS]
    largest = max([abs(value) for _, value in [*top, *bottom]], default=0.0) or 1.0
    rows = "".join(
        "<tr>" + "".join(_effect(side[i] if i < len(side) else None, largest) for side in (top, bottom)) + "</tr>"
        for i in range(max(len(top), len(bottom)))
    )
    table = f'<table class="logits"><tr><th colspan="2">top</th><th colspan="2">bottom</th></tr>{rows}</table>'
    return _panel("Top and bottom logits", _svg(bars, words, "low") + table)


def _effect(pair: tuple[str, float] | None, largest: float) -> str:
    if pair is None:
        return "<td></td><td></td>"
    piece, value = str(pair[0]), float(pair[1])
    width = f"width:{22 * abs(value) / largest:.1f}px"
    bar = f'<i class="{"down" if value < 0 else "up"}" style="{width}"></i>'
    return f'<td><code>{escape(shown(piece, spaces=True))}</code></td><td class="n">{bar}{_signed(value)}</td>'


def _heads(view: FeatureView) -> str:
    table = heads_table(view)
    return _panel("Heads and sources", table) if table else ""


def _neighbours(view: FeatureView, names: Mapping[int, str]) -> str:
    found = view["neighbours"][:NEIGHBOURS]
    if not found:
        return _panel("Neighbours", _why(view, "neighbours"))
    rows = "".join(
        f'<tr><td class="n"><code>{row["latent"]}</code></td>'
        f'<td class="name">{escape(shown(names.get(row["latent"], "")))}</td>'
        f'<td class="n">{_signed(row["cosine"], plus=False)}</td>'
        f'<td class="n">{_signed(row["phi"], plus=False)}</td></tr>'
        for row in found
    )
    head = '<tr><th class="n">#</th><th></th><th class="n">cos</th><th class="n">φ</th></tr>'
    return _panel("Neighbours", f'<table class="neighbours">{head}{rows}</table>')


def _panel(title: str, body: str, aside: str = "") -> str:
    aside = f" <small>{escape(aside)}</small>" if aside else ""
    return f'<div class="panel"><h5>{escape(title)}{aside}</h5>{body}</div>'


def _why(view: FeatureView, panel: str) -> str:
    return f"<p>{escape(view['absent'].get(panel, 'There are none.'))}</p>"


def _bars(counts: list[int]) -> list[tuple[int, float, float, float]]:
    """(bin, x, width, height) of the bins that are not empty; heights on a log scale, so that one count is seen."""
    tallest, width = math.log1p(max(counts, default=0)) or 1.0, _WIDTH / max(len(counts), 1)
    return [(i, i * width, width, _HEIGHT * math.log1p(count) / tallest) for i, count in enumerate(counts) if count > 0]


def _box(x: float, width: float, height: float, top: float | None = None) -> str:
    """A bar that stands on the ground, or of it the `top`, as a path in tenths of a unit."""
    left, high, wide = (f"{value:z.1f}".removesuffix(".0") for value in (x, _HEIGHT - height, width))
    if top is None:
        return f"M{left} {_HEIGHT}V{high}h{wide}V{_HEIGHT}"
    return f"M{left} {high}h{wide}v{top:g}h-{wide}"


def _svg(bars: str, words: str, kind: str = "") -> str:
    said = escape(words, quote=True)
    return (
        f'<svg class="{kind}" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" height="{_HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{said}">{bars}</svg>'
    )


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _percent(share: float) -> str:
    return f"{100 * share:.4g}" if share < 0.5 else f"{math.floor(1e4 * share) / 100:.2f}"


def _signed(value: Any, digits: int = 2, *, plus: bool = True) -> str:
    """With a true minus sign; – where it was not measured."""
    if value is None:
        return "–"
    return f"{value:{'+' if plus else ''}z.{digits}f}".replace("-", "−")


def _named(names: list[str], value: float) -> str:
    return names[int(value)]


_WRITE: dict[str, Callable[[float], str]] = {
    "fixed": _number,
    "percent": _percent,
    "share": "{:.2f}".format,
    "signed": partial(_signed, digits=3),
    "whole": "{:.0f}".format,
}
