"""The heads that a latent comes from, on its card: a bar a head and share, and the tokens that bring most, in text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from saekit.plots.tokens import shown

if TYPE_CHECKING:
    from saekit_widgets.protocols import FeatureView, Heads

MOST = 8  # heads, those of the largest decoder shares
SOURCES = 4  # of the strongest example
WIDTH = 44  # px of a bar for a share of 1


def heads_table(view: FeatureView) -> str:
    """HTML: a row a head with its shares, and a line on the strongest example's sources; "" where none are known."""
    heads = view.get("heads")
    if heads is None:
        return ""
    rows = "".join(
        f'<tr><td class="n"><code>{head}</code></td><td class="n">{_bar(decoder)}</td>'
        f'<td class="n">{_bar(None if heads["activation"] is None else heads["activation"][head])}</td></tr>'
        for head, decoder in strongest(heads)
    )
    top = '<tr><th class="n">head</th><th class="n">decoder</th><th class="n">examples</th></tr>'
    said = [sentence for sentence in (left_out(heads), kinds(heads), sources_line(view)) if sentence]
    return f'<table class="heads">{top}{rows}</table>' + "".join(f"<p>{escape(sentence)}</p>" for sentence in said)


def heads_line(view: FeatureView) -> str:
    """The same in a line of text: the heads by their decoder share, and the family."""
    heads = view.get("heads")
    if heads is None:
        return ""
    most = "  ".join(f"{head} {_share(decoder)}" for head, decoder in strongest(heads)[:4])
    return f"{most}  {heads['family'] or ''}".rstrip()


def sources_line(view: FeatureView) -> str:
    """What brings most to the peak of the strongest example: " Where" 4 back, head 3: +2.73; …"""
    found = [source for example in view["examples"]["top"][:1] for source in example.get("sources") or []]
    said = [
        f"{shown(source['text'], spaces=True)} ({source['back']} back, head {source['head']}) "
        + f"{source['contribution']:+.2f}".replace("-", "−")
        for source in found[:SOURCES]
    ]
    return "Its strongest example comes from " + ", ".join(said) if said else ""


def strongest(heads: Heads) -> list[tuple[int, float]]:
    """Heads with their decoder share, the largest first, at most MOST."""
    return sorted(enumerate(heads["decoder"]), key=lambda pair: -pair[1])[:MOST]


def left_out(heads: Heads) -> str:
    """What the heads that are not drawn have together; "" where all are."""
    others = [share for head, share in enumerate(heads["decoder"]) if head not in dict(strongest(heads))]
    return f"{len(others)} more heads have {_share(sum(others))} of the decoder row." if others else ""


def kinds(heads: Heads) -> str:
    """The family, and what it goes by."""
    if heads["induction"] is None or heads["local"] is None:
        return ""
    behind, near = _share(heads["induction"]), _share(heads["local"])
    return f"{heads['family']}: {behind} from behind an earlier copy, {near} from at most five tokens back"


def _bar(share: float | None) -> str:
    if share is None:
        return "–"
    return f'<i class="up" style="width:{WIDTH * share:.1f}px"></i>{_share(share)}'


def _share(share: float) -> str:
    """As the browser writes it: .83, 1.00."""
    return f"{share:.2f}".removeprefix("0")
