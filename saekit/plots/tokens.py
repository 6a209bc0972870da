"""Tokens drawn as text: the stronger a latent fires on a token, the fuller the colour behind it.

`tokens_view` draws one text, `concordance` many, one a line, with the peak tokens in one column. The background is
10 % + 90 % × (value / maximum) of the activation colour, and zero is bare, so that the weakest firing is still seen and
silence is never mistaken for one. Tokens come from models and files: they are escaped, and characters that draw
nothing or turn the reading direction are shown as their code. Colours follow JupyterLab's theme and fall back to
dark ink on white in a saved page.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

# Light and dark ink reach 4.5 : 1 on the fullest colour. JupyterLab says its theme on <body>, VS Code by a class.
_STYLE = """<style>
.saekit-tokens{--act:#f5a524;--neg:#e29579;--ink:var(--jp-content-font-color1,#1f1f1f);--bg:var(--jp-layout-color0,
#fff);--grey:color-mix(in srgb,var(--ink) 68%,var(--bg));--line:color-mix(in srgb,var(--ink) 14%,var(--bg));
color:var(--ink);background:var(--bg);font:12px/16px var(--jp-ui-font-family,system-ui,sans-serif);
font-variant-numeric:tabular-nums;container-type:inline-size;padding:2px 0}
body[data-jp-theme-light="false"] .saekit-tokens,body.vscode-dark .saekit-tokens{--act:#8a5800;--neg:#8c3f22}
.saekit-tokens{& .text{font:13px/22px var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);
font-variant-ligatures:none;overflow-x:auto}
& .k{padding:2px 0;unicode-bidi:isolate;white-space:pre;background:color-mix(in oklab,var(--act) calc(var(--a,
0)*100%),transparent)}
& .minus{background:color-mix(in oklab,var(--neg) calc(var(--a,0)*100%),transparent);
border-bottom:2px dotted var(--ink)}
& .label{border-bottom:2px solid var(--grey)}
& .peak{font-weight:inherit;outline:1px solid var(--ink);outline-offset:-1px}
& .sign{color:var(--grey)}
& .k[style] .sign{color:inherit}
& p{margin:4px 0 0;font-size:11px;color:var(--grey)}
& .row{display:grid;grid-template-columns:7ch 44ch minmax(0,1fr);line-height:23px;height:23px;
border-bottom:1px solid var(--line)}
& .row>*{overflow:hidden;white-space:pre}
& .row>b{font:12px/23px var(--jp-ui-font-family,system-ui,sans-serif);text-align:right;padding-right:10px;
color:var(--grey)}
& .row .k{padding:0;margin:1px 0;line-height:20px;height:20px;flex:none}
& .left{display:flex;justify-content:flex-end}
& .row .right{white-space:pre-wrap}
& .right .k{display:inline-block;vertical-align:top}}
@container (max-width:840px){.saekit-tokens .row{grid-template-columns:7ch 30ch minmax(0,1fr)}
.saekit-tokens .f3{display:none}}
@container (max-width:600px){.saekit-tokens .row{grid-template-columns:7ch 18ch minmax(0,1fr)}
.saekit-tokens .f2{display:none}}
</style>"""

_SIGNS = {"\n": "↵", "\t": "⇥"}
# The same as in widgets/src/shared/tokens.js, so that a card and a browser show one text alike: controls, soft hyphen,
# marks and overrides of direction, invisible operators, byte order mark, annotation marks; and halves of a character.
_HIDDEN = re.compile(
    r"[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb\ud800-\udfff]"
)
_JOINERS = "\u200c\u200d"  # needed inside emoji and in Persian; hidden only when alone
# Of a script that breaks lines at spaces and runs from left to right.
_SIMPLE = re.compile(r"[\n\t -~\u00a1-\u00ac\u00ae-\u024f\u0370-\u058f]{1,30}")
_WIDTHS = (18, 30, 44)  # columns of left context in a narrow, a middle and a wide cell


def shown(token: str, *, spaces: bool = False) -> str:
    """A token as text to be read: newline and tab as ↵ and ⇥, characters that cannot be seen as their code.

    `spaces=True`, for lists and axes, shows spaces as ␣ too; running text keeps its real spaces.
    """
    return "".join(sign or c for c, sign in _signs(token, spaces))


def _signs(token: str, spaces: bool) -> list[tuple[str, str | None]]:
    """The characters, each with the sign that stands for it where it cannot be seen."""

    def sign(c: str) -> str | None:
        if c in _SIGNS:
            return _SIGNS[c]
        if c == " " and spaces:
            return "␣"
        if _HIDDEN.match(c) and (c not in _JOINERS or len(token) == 1):
            return f"⟨{ord(c):04X}⟩"
        return None

    return [(c, sign(c)) for c in token]


@dataclass(frozen=True, repr=False)
class TokensView:
    """One text, its tokens coloured by value; made by `tokens_view`, drawn by a notebook. `.html` is what it draws.

    tokens, values, maximum, peak, labels: as `tokens_view` takes them."""

    tokens: tuple[str, ...]
    values: tuple[float, ...]
    maximum: float
    peak: int | None = None
    labels: tuple[str | None, ...] | None = None

    @property
    def html(self) -> str:
        """The text as an HTML fragment with its style; a legend where tokens are labelled."""
        labels = self.labels or (None,) * len(self.tokens)
        pieces, since = [], 0
        for i, (token, value, label) in enumerate(zip(self.tokens, self.values, labels, strict=True)):
            # A line may break before a token, never inside, so that no coloured space is left at the end of a line.
            # Before a space, that is; or anywhere, in a script that has none.
            if token[:1].isspace() or since > 24:
                pieces.append("<wbr>")
                since = 0
            since += len(token)
            pieces.append(_token(token, value, self.maximum, peak=i == self.peak, label=label, breaks=True))
        names = list(dict.fromkeys(label for label in labels if label))
        legend = f"<p>underlined: {escape(', '.join(names))}</p>" if names else ""
        return f'{_STYLE}<div class="saekit-tokens"><div class="text">{"".join(pieces)}</div>{legend}</div>'

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<TokensView: {len(self.tokens)} tokens, maximum {self.maximum:.4g}>"


@dataclass(frozen=True, repr=False)
class Concordance:
    """Examples one below the other, peak tokens in one column; made by `concordance`, drawn by a notebook.

    rows, maximum, numbers: as `concordance` takes them."""

    rows: tuple[tuple[tuple[str, ...], tuple[float, ...], int], ...]
    maximum: float
    numbers: tuple[float, ...]
    after: int = 100

    @property
    def html(self) -> str:
        """The lines as an HTML fragment with its style."""
        lines = [
            _line(*row, self.maximum, number, self.after) for row, number in zip(self.rows, self.numbers, strict=True)
        ]
        listed = "".join(lines) or "<p>no examples</p>"
        return f'{_STYLE}<div class="saekit-tokens"><div role="list">{listed}</div></div>'

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<Concordance: {len(self.rows)} examples, maximum {self.maximum:.4g}>"


def tokens_view(
    tokens: Sequence[str],
    values: Sequence[float],
    *,
    maximum: float | None = None,
    peak: int | None = None,
    labels: Sequence[str | None] | None = None,
) -> TokensView:
    """A text with a coloured background behind each token, as strong as its value.

    tokens:  the tokens' text; together they are the text. Escaped, whatever they hold.
    values:  one number a token, such as a latent's activation. Negative ones are rust with a dotted underline.
    maximum: the value of the fullest colour; by default the largest |value| here. Give it to compare views.
    peak:    index of a token to outline.
    labels:  one name (such as a labelled concept) or None a token; labelled tokens are underlined.
    Raises ValueError where lengths differ, a value is not finite, `peak` is no index, or `maximum` is negative.
    """
    kept, numbers = _checked("tokens_view", tokens, values, peak)
    if labels is not None and len(labels) != len(kept):
        raise ValueError(
            f"tokens_view got {len(kept)} tokens and {len(labels)} labels; give one label (or None) a token."
        )
    names = None if labels is None else tuple(labels)
    return TokensView(kept, numbers, _maximum("tokens_view", [numbers], maximum), peak, names)


def concordance(
    rows: Sequence[tuple[Sequence[str], Sequence[float], int]],
    *,
    maximum: float | None = None,
    numbers: Sequence[float] | None = None,
    after: int = 100,
) -> Concordance:
    """One line an example, its peak token in the same column, as many whole tokens around it as fit.

    rows:    triples (tokens, values, index of the peak token), in the order to show them.
    maximum: the value of the fullest colour; by default the largest |value| of all rows.
    numbers: what stands before each line; by default the value at its peak.
    after:   columns from the peak on, at most: where there is less room, less is seen.
    Raises ValueError as ``tokens_view`` does, and where there is not a number a row.
    """
    checked = []
    for tokens, values, peak in rows:
        checked.append((*_checked("concordance", tokens, values, peak), int(peak)))
    said = [values[peak] for _, values, peak in checked] if numbers is None else [float(number) for number in numbers]
    if len(said) != len(checked):
        raise ValueError(f"concordance got {len(checked)} rows and {len(said)} numbers; give one number a row.")
    most = _maximum("concordance", [row[1] for row in checked], maximum)
    return Concordance(tuple(checked), most, tuple(said), after)


def _checked(
    function: str, tokens: Sequence[str], values: Sequence[float], peak: int | None
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    kept, numbers = tuple(str(token) for token in tokens), tuple(float(value) for value in values)
    if len(kept) != len(numbers):
        raise ValueError(f"{function} got {len(kept)} tokens and {len(numbers)} values; give one value a token.")
    for i, number in enumerate(numbers):
        if not math.isfinite(number):
            raise ValueError(f"{function} got the value {number} for token {i} ({kept[i]!r}); values must be finite.")
    if peak is not None and not 0 <= peak < len(kept):
        raise ValueError(f"{function} got peak={peak} for {len(kept)} tokens; it must be an index from 0 up.")
    return kept, numbers


def _maximum(function: str, rows: Sequence[Sequence[float]], maximum: float | None) -> float:
    if maximum is None:
        return max((abs(value) for row in rows for value in row), default=0.0)
    if not (math.isfinite(maximum) and maximum >= 0):
        raise ValueError(f"{function} got maximum={maximum}; it must be a finite number of at least 0.")
    return float(maximum)


def _token(
    token: str,
    value: float,
    maximum: float,
    *,
    peak: bool = False,
    label: str | None = None,
    breaks: bool,
    extra: str = "",
) -> str:
    """One token as a span. `breaks`: a newline also breaks the line, after its sign."""
    share = min(abs(value) / maximum, 1.0) if maximum > 0 and value else 0.0
    # A blank token that fires would be a coloured gap: there the spaces are shown.
    spaces = bool(share) and token.strip(" ") == ""
    text = _text(token, spaces, breaks)
    classes = " ".join(
        name for name, on in [("k", True), ("minus", value < 0), ("label", label), ("peak", peak), (extra, extra)] if on
    )
    number = f"{value:.4g}".replace("-", "−")
    said = number  # of a line; of what is seen there otherwise than it is, and in a text, the token too
    if breaks or shown(token) != token:
        said = escape(f"{shown(token, spaces=True)}   {number}" + (f"   {label}" if label else ""), quote=True)
    title = f' title="{said}"' if share or label or breaks else ""  # of a line's silent tokens there is nothing to say
    style = f' style="--a:{0.1 + 0.9 * share:.3f}"' if share else ""
    tag = "b" if peak else "span"  # so that the peak is seen where styles are stripped
    return f'<{tag} class="{classes}"{style}{title}>{text}</{tag}>'


def _text(token: str, spaces: bool = False, breaks: bool = False) -> str:
    return "".join(
        escape(c) if sign is None else f'<span class="sign">{sign}</span>' + ("\n" if breaks and c == "\n" else "")
        for c, sign in _signs(token, spaces)
    )


def _line(
    tokens: tuple[str, ...], values: tuple[float, ...], peak: int, maximum: float, number: float, after: int
) -> str:
    """One example. Left tokens carry the class of the narrowest cell that still shows them, so whole tokens go; on the
    right the line breaks before them."""
    left: list[tuple[int, str]] = []
    used = 0
    for i in range(peak - 1, -1, -1):
        used += columns_of(tokens[i])
        fits = next((rank for rank, width in enumerate(_WIDTHS, start=1) if used <= width), None)
        if fits is None:
            break
        left.append((i, "" if fits == 1 else f"f{fits}"))
    right, used = [(peak, "")], columns_of(tokens[peak])
    for i in range(peak + 1, len(tokens)):
        used += columns_of(tokens[i])
        if used > after:
            break
        right.append((i, ""))

    def drawn(parts: list[tuple[int, str]]) -> str:
        """Silent tokens in a row are one text: most are silent, and a notebook keeps every byte."""
        out = []
        for (extra, alone), run in groupby(parts, lambda part: (part[1], _alone(part[0], tokens, values, peak))):
            indices = [i for i, _ in run]
            if alone is None:
                text = _text("".join(tokens[i] for i in indices))
                out.append(f'<span class="{extra}">{text}</span>' if extra else f"<span>{text}</span>")
            else:
                out.append(_token(tokens[alone], values[alone], maximum, peak=alone == peak, breaks=False, extra=extra))
        return "".join(out)

    said = f"{number:z.2f}".replace("-", "−")
    return (
        f'<div class="row text" role="listitem"><b>{said}</b> <span class="left">{drawn(left[::-1])}</span>'
        f'<span class="right">{drawn(right)}</span></div>'
    )


def _alone(i: int, tokens: tuple[str, ...], values: tuple[float, ...], peak: int) -> int | None:
    """The token's number where it is drawn by itself, None where it may be one text with its neighbours."""
    return None if i != peak and not values[i] and _SIMPLE.fullmatch(tokens[i]) else i


def columns_of(token: str) -> int:
    """How many columns of a monospaced font the token takes as it is shown."""
    text = shown(token)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
