"""A card as plain text, for a terminal: the same numbers, at most 25 lines of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from saekit.features.showing.card_heads import heads_line, sources_line
from saekit.plots import sparkline, text_concordance
from saekit.plots.plain import WIDTH, cut
from saekit.plots.tokens import shown

if TYPE_CHECKING:
    from saekit_widgets.protocols import FeatureView

EXAMPLES, LOGITS, NEIGHBOURS = 8, 5, 4


def card_text(
    view: FeatureView, title: str, summary: str, label: str = "", names: Mapping[int, str] | None = None
) -> str:
    """One feature: its numbers, strongest examples, histogram, logits, neighbours and what was said of it.

    title: the store. summary: its numbers in a line. label: what it was called. names: what its neighbours are called.
    """
    called = f" {shown(label)!r}" if label else ""
    lines = [cut(f"feature {view['latent']}{called} of {shown(title)}", WIDTH), *textwrap.wrap(summary, WIDTH)]
    if view["histogram"] is not None:
        edges, counts = view["histogram"]["edges"], view["histogram"]["counts"]
        lines.append(
            f"activations    {_number(edges[0])} ▕{sparkline(counts)}▏ {_number(edges[-1])}, heights logarithmic"
        )
    found = view["examples"].get("top") or []
    if found:
        rows = [(example["pieces"], example["values"], example["peak"]) for example in found[:EXAMPLES]]
        lines += ["strongest examples", text_concordance(rows, [example["value"] for example in found[:EXAMPLES]])]
    elif "examples" in view["absent"]:
        lines.append(cut(view["absent"]["examples"], WIDTH))
    if view["logits"] is not None:
        for side in ("top", "bottom"):
            pairs = [f"{shown(text, spaces=True)} {_signed(value)}" for text, value in view["logits"][side][:LOGITS]]
            lines.append(cut(f"{side + ' logits':<15}{'  '.join(pairs)}", WIDTH))
    if said := heads_line(view):
        lines.append(cut(f"{'heads':<15}{said}", WIDTH))
    if said := sources_line(view):
        lines.append(cut(said, WIDTH))
    if view["neighbours"]:
        near = [
            f"{row['latent']}{_quoted((names or {}).get(row['latent'], ''))} cos {_number(row['cosine'])}"
            for row in view["neighbours"][:NEIGHBOURS]
        ]
        lines.append(cut(f"{'neighbours':<15}{'  '.join(near)}", WIDTH))
    for one in view["explanations"][:2]:
        lines.append(cut(f"{'explanation':<15}{shown(one['text'])}", WIDTH))
    return "\n".join(lines)


def _quoted(name: str) -> str:
    return f" {shown(name)!r}" if name else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
