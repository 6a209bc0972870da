"""A corpus drawn: its first documents, every span coloured, its concepts by number.

Colours repeat when concepts are many and cannot be told by everybody, so each span ends with the small numbers of what
ends there, and the numbers stand in the legend. Where spans nest, the background is the innermost one's and the line
below is the outermost one's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice, pairwise

from saekit.corpora.documents import Document, Span

DRAWN = 5  # documents
LONGEST = 700  # characters of each

STYLE = """<style>
.saekit-corpus{--ink:var(--jp-content-font-color1,#1f1f1f);--bg:var(--jp-layout-color0,#fff);
--grey:color-mix(in srgb,var(--ink) 68%,var(--bg));--line:color-mix(in srgb,var(--ink) 14%,var(--bg));
color:var(--ink);background:var(--bg);font:12px/16px var(--jp-ui-font-family,system-ui,sans-serif);padding:2px 0}
.saekit-corpus .head,.saekit-corpus .legend{font-size:11px;color:var(--grey);margin:4px 0}
.saekit-corpus .legend span{display:inline-block;margin:0 12px 2px 0;color:var(--ink)}
.saekit-corpus .legend i,.saekit-corpus .s{background:color-mix(in oklab,hsl(var(--h) 75% 50%) 30%,var(--bg))}
.saekit-corpus .legend i{display:inline-block;min-width:16px;margin-right:4px;padding:0 2px;text-align:center;
font-style:normal;border-radius:2px}
.saekit-corpus .doc{border-top:1px solid var(--line);padding:6px 0;display:grid;gap:0 8px;
grid-template-columns:11ch minmax(0,1fr)}
.saekit-corpus .doc>b{font-weight:400;font-size:11px;color:var(--grey);line-height:24px;overflow:hidden;
text-overflow:ellipsis}
.saekit-corpus .text{font:13px/24px var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);
font-variant-ligatures:none;white-space:pre-wrap;overflow-wrap:anywhere}
.saekit-corpus .s{padding:2px 0}
.saekit-corpus .o{border-bottom:2px solid color-mix(in oklab,hsl(var(--o) 75% 50%) 75%,var(--bg))}
.saekit-corpus sub{font:9px/1 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--grey);vertical-align:-3px;
user-select:none}
.saekit-corpus table{border-collapse:collapse;font-size:12px}
.saekit-corpus th,.saekit-corpus td{text-align:left;padding:2px 12px 2px 0;border-bottom:1px solid var(--line);
vertical-align:top}
.saekit-corpus th{font-size:11px;font-weight:400;color:var(--grey)}
.saekit-corpus td{font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);white-space:pre-wrap}
</style>"""


def corpus_html(corpus: Iterable[Document], head: str, shares: Mapping[str, float]) -> str:
    """The first documents of a corpus. head: what it is, above them; shares: of its characters, by kind."""
    documents = list(islice(iter(corpus), DRAWN))
    concepts = sorted({span.concept for document in documents for span in _shown(document)})
    number = {concept: place for place, concept in enumerate(concepts, start=1)}
    legend = "".join(
        f'<span><i style="--h:{_hue(place)}">{place}</i>{escape(name)}</span>' for name, place in number.items()
    )
    rows = "".join(
        f'<div class="doc"><b>{escape(d.kind)}</b><div class="text">{_text(d, number)}</div></div>' for d in documents
    )
    kinds = " · ".join(f"{escape(kind)} {share:.1%}" for kind, share in shares.items())
    below = f'<div class="legend">{legend}</div><div class="head">characters by kind: {kinds}</div>'
    return _frame(f"{head} · first {len(documents)}", rows + below)


def _frame(head: str, body: str) -> str:
    return f'{STYLE}<div class="saekit-corpus"><div class="head">{escape(head)}</div>{body}</div>'


def _hue(number: int) -> int:
    """Neighbouring numbers get distant hues (the golden angle)."""
    return round(number * 137.508) % 360


def _shown(document: Document) -> Iterable[Span]:
    return (span for span in document.spans if span.start < LONGEST)


def _text(document: Document, number: dict[str, int]) -> str:
    """The text in segments between span boundaries, so that nested and crossing spans need no nested markup."""
    text = document.text[:LONGEST]
    spans = [(span.start, min(span.end, len(text)), span.concept) for span in _shown(document)]
    bounds = sorted({0, len(text), *(start for start, _, _ in spans), *(end for _, end, _ in spans)})
    pieces = []
    for start, end in pairwise(bounds):
        over = sorted((stop - first, concept) for first, stop, concept in spans if first <= start and stop >= end)
        piece = escape(text[start:end])
        if over:
            inner, outer = number[over[0][1]], number[over[-1][1]]
            nested = over[-1][0] > over[0][0]
            names = escape(", ".join(concept for _, concept in over), quote=True)
            line = f";--o:{_hue(outer)}" if nested else ""
            style = f'class="s{" o" if nested else ""}" style="--h:{_hue(inner)}{line}"'
            piece = f'<span {style} title="{names}">{piece}</span>'
        ends = sorted({number[concept] for _, stop, concept in spans if stop == end})
        pieces.append(piece + (f"<sub>{' '.join(map(str, ends))}</sub>" if ends else ""))
    return "".join(pieces) + ("…" if len(document.text) > LONGEST else "")


def pairs_html(pairs: Sequence[tuple[str, str, tuple[str, ...], tuple[str, ...]]], head: str) -> str:
    """The first pairs, a row each: clean, corrupt, answers, wrong. head: what they are, above them."""
    rows = "".join(
        f"<tr><td>{escape(clean)}</td><td>{escape(corrupt)}</td>"
        f"<td>{_tokens(answers)}</td><td>{_tokens(wrong)}</td></tr>"
        for clean, corrupt, answers, wrong in pairs[:DRAWN]
    )
    head = f"{head} · {len(pairs):,} pairs · first {min(DRAWN, len(pairs))}"
    names = "<tr><th>clean</th><th>corrupt</th><th>answers</th><th>wrong</th></tr>"
    return _frame(head, f"<table>{names}{rows}</table>")


def _tokens(tokens: tuple[str, ...]) -> str:
    shown = " ".join(escape(token.replace(" ", "␣")) for token in tokens[:4])
    return shown + (f" … ({len(tokens)})" if len(tokens) > 4 else "")
