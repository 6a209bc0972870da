"""A score sheet: the tokens of a prompt across, latents down, the value printed in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from saekit.plots.tokens import shown

ROWS = 12
_STYLE = """<style>
.saekit-sheet{--act:#f5a524;--neg:#e29579;--ink:var(--jp-content-font-color1,#1f1f1f);--bg:var(--jp-layout-color0,#fff);
--grey:color-mix(in srgb,var(--ink) 70%,var(--bg));--wash:color-mix(in srgb,var(--ink) 4%,var(--bg));
color:var(--ink);background:var(--bg);font:12px/18px var(--jp-ui-font-family,system-ui,sans-serif);
font-variant-numeric:tabular-nums;overflow-x:auto;padding:2px 0}
body[data-jp-theme-light="false"] .saekit-sheet,body.vscode-dark .saekit-sheet{--act:#8a5800;--neg:#8c3f22}
.saekit-sheet.saekit-sheet table{border-collapse:separate;border-spacing:1px;border:0;margin:0;font-size:12px}
.saekit-sheet.saekit-sheet tr{background:none;border:0}
.saekit-sheet.saekit-sheet td,.saekit-sheet.saekit-sheet th{padding:0 4px;border:0;text-align:center;font-weight:400;
white-space:pre;min-width:16px;background:none}
.saekit-sheet.saekit-sheet td{background:color-mix(in oklab,var(--act) calc(var(--a,0)*100%),var(--wash))}
.saekit-sheet.saekit-sheet td.minus{background:color-mix(in oklab,var(--neg) calc(var(--a,0)*100%),var(--wash));
border-bottom:2px dotted var(--ink)}
.saekit-sheet.saekit-sheet th{font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);
font-variant-ligatures:none;unicode-bidi:isolate}
.saekit-sheet.saekit-sheet th.out{color:var(--grey)}
.saekit-sheet.saekit-sheet th:first-child{text-align:right;padding-right:8px;position:sticky;left:0;
background:var(--bg)}
.saekit-sheet p{margin:4px 0 0;font-size:11px;line-height:16px;color:var(--grey)}
</style>"""


def score_sheet(
    pieces: Sequence[str],
    counted: Sequence[bool],
    latents: Sequence[int],
    values: np.ndarray,
    maxima: np.ndarray,
    cut: int = 0,
) -> str:
    """HTML of the first 12 latents on a text; their values are printed, and coloured as a share of their maxima.

    values: [latent, piece], 0 is an empty cell. maxima: [latent], the fullest colour of each; where one is NaN, all
    are coloured against the largest value here.
    """
    rows = min(len(latents), ROWS)
    known = bool(np.isfinite(maxima).all())
    full = np.asarray(maxima) if known else np.full(len(latents), np.abs(values).max(initial=0.0))
    head = "".join(_head(piece, inside) for piece, inside in zip(pieces, counted, strict=True))
    body = "".join(
        f'<tr><th scope="row">{latents[m]}</th>'
        + "".join(_cell(float(value), float(full[m])) for value in values[m])
        + "</tr>"
        for m in range(rows)
    )
    order = "the strongest as a share of latent_max first" if known else "the strongest first"
    said = [f"{rows} of {len(latents)} latents that fire, {order}"]
    said += [f"the fullest colour is {'latent_max' if known else 'the largest value here'}"]
    said += [f"{cut} tokens did not fit the context and are left out"] if cut else []
    note = "; ".join(said) if rows else "no latent fires on this prompt"
    table = f'<table><tr><th scope="col">latent</th>{head}</tr>{body}</table>' if rows else ""
    return f'{_STYLE}<div class="saekit-sheet">{table}<p>{note}.</p></div>'


def _head(piece: str, counted: bool) -> str:
    outside = "" if counted else ' class="out"'
    title = escape(shown(piece, spaces=True), quote=True)
    text = escape(shown(piece, spaces=not piece.strip(" ")))
    return f'<th scope="col"{outside} title="{title}">{text}</th>'


def _cell(value: float, full: float) -> str:
    if value == 0:
        return "<td></td>"
    share = min(abs(value) / full, 1.0) if full > 0 else 1.0
    number = f"{value:.1f}" if abs(value) >= 0.05 else f"{value:.0e}"
    sign = ' class="minus"' if value < 0 else ""
    return f'<td{sign} style="--a:{0.1 + 0.9 * share:.3f}">{number.replace("-", "−")}</td>'
