"""The final state of a training run as a self-contained piece of HTML: what a saved notebook shows without a kernel.

It looks like the live widget, follows JupyterLab's theme, and holds neither script nor address.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """<style>
.saekit-monitor{--bg:var(--jp-layout-color1,#fff);--ink0:var(--jp-ui-font-color0,#000);
--ink:color-mix(in srgb,var(--ink0) 88%,var(--bg));--ink2:color-mix(in srgb,var(--ink0) 62%,var(--bg));
--line:color-mix(in srgb,var(--ink0) 11%,var(--bg));--loss:#a86400;--explained_variance:#00707a;
font:12px/16px var(--jp-ui-font-family,system-ui,sans-serif);font-variant-numeric:tabular-nums;color:var(--ink);
background:var(--bg);border:1px solid color-mix(in srgb,var(--ink0) 22%,var(--bg));border-radius:3px;max-width:760px}
body[data-jp-theme-light="false"] .saekit-monitor,body.vscode-dark .saekit-monitor{--loss:#f0b04a;
--explained_variance:#4fc3c9}
.saekit-monitor .bar{padding:8px 12px;color:var(--ink2)}
.saekit-monitor .bar b{font-weight:600;color:var(--ink);margin-right:12px}
.saekit-monitor .progress{height:4px;background:var(--line)}
.saekit-monitor .progress i{display:block;height:4px;background:var(--ink2)}
.saekit-monitor .panels{display:grid;gap:4px 16px;padding:8px 12px 4px;
grid-template-columns:repeat(auto-fit,minmax(min(100%,260px),1fr))}
.saekit-monitor .name{color:var(--ink2)}
.saekit-monitor .name b{font-size:15px;font-weight:600;color:var(--ink);margin-left:8px}
.saekit-monitor svg{display:block;width:100%;height:auto}
.saekit-monitor text{font-size:11px;fill:var(--ink2)}
.saekit-monitor .numbers{border-top:1px solid var(--line);padding:4px 12px;font-size:11px;line-height:18px}
.saekit-monitor .numbers span{margin-right:16px;white-space:nowrap}
.saekit-monitor .numbers i{font-style:normal;color:var(--ink2);margin-right:5px}
</style>"""
_NAMES = {"l0": "L0", "ce_recovered": "loss recovered"}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 352, 128, 40, 10, 8, 20
_POINTS = 160  # of a drawn curve


def training_picture(
    *,
    rows: Sequence[Sequence[float]],
    curves: Sequence[str],
    tokens: int,
    total_tokens: int,
    seconds: float,
    tokens_per_second: float,
    waited: float,
    metrics: Mapping[str, float],
    finished: bool,
    latents: int,
    stopped: str = "",
) -> str:
    """HTML with an SVG curve for each of `curves`; a row is (tokens, a value a curve), nan where not measured.
    waited: a share of the time; below 0: not known."""
    share = min(tokens / total_tokens, 1.0) if total_tokens > 0 else 0.0
    title = "Training" if not (finished or stopped) else "Trained" if finished and share == 1.0 else "Stopped"
    facts = [stopped.removeprefix("stopped ") or f"{tokens:,} of {total_tokens:,} tokens", f"{_duration(seconds)}"]
    if tokens_per_second > 0:
        facts.insert(1, f"{_compact(tokens_per_second)} tokens/s")
        if waited >= 0:
            facts.insert(2, f"{'waited' if finished or stopped else 'waiting'} {100 * waited:.0f} %")
    panels = "".join(
        _panel(name, [(row[0], row[i]) for row in rows if math.isfinite(row[i])], max(total_tokens, 1))
        for i, name in enumerate(curves, start=1)
    )
    numbers = "".join(
        f"<span><i>{escape(_name(name))}</i>{_part(value, latents) if name == 'dead' else _number(value)}</span>"
        for name, value in metrics.items()
        if name not in curves
    )
    return (
        f'{_STYLE}<div class="saekit-monitor"><div class="bar"><b>{title}</b>{escape(" · ".join(facts))}</div>'
        f'<div class="progress"><i style="width:{100 * share:.2f}%"></i></div><div class="panels">{panels}</div>'
        f'<div class="numbers">{numbers}</div></div>'
    )


def _panel(name: str, points: list[tuple[float, float]], total: int) -> str:
    if not points:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    if low == high:
        apart = abs(high) * 0.1 or 1.0
        low, high = low - apart / 2, high + apart / 2
    step = max(len(points) // _POINTS, 1)
    kept = [*points[:-1:step], points[-1]]

    def x(value: float) -> float:
        return _LEFT + value / total * (_WIDTH - _RIGHT - _LEFT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM + (value - low) / (high - low) * (_TOP - _HEIGHT + _BOTTOM)

    def text(at: float, height: float, anchor: str, words: str) -> str:
        return f'<text x="{at:.1f}" y="{height:.1f}" text-anchor="{anchor}">{words}</text>'

    grid = "".join(
        f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}" style="stroke:var(--line)"/>'
        + text(_LEFT - 6, y(tick) + 4, "end", _number(tick))
        for tick in _ticks(low, high, 5)
    )
    axis = "".join(
        text(x(tick), _HEIGHT - 4, "middle" if tick else "start", _compact(tick) + ("" if tick else " tokens"))
        for tick in _ticks(0, total, 5)
        if x(tick) < _WIDTH - 16
    )
    path = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in kept)
    words = f"{_name(name)}: {_number(points[-1][1])} after {_compact(points[-1][0])} tokens"
    return (
        f'<div><div class="name">{_name(name)}<b>{_number(points[-1][1])}</b></div>'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(words)}">{grid}{axis}'
        f'<path d="M{_LEFT} {_HEIGHT - _BOTTOM + 2}H{_WIDTH - _RIGHT}" style="stroke:var(--ink2);stroke-opacity:.7"/>'
        f'<path d="M{path}" style="fill:none;stroke:var(--{name});stroke-width:1.75;stroke-linejoin:round"/>'
        "</svg></div>"
    )


def _name(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _number(value: float) -> str:
    """Four significant digits at most, thousands separated, a true minus sign (as numbers.js writes it)."""
    if math.isnan(value):
        return "–"
    if value == 0 or abs(value) >= 1e-3:
        text = f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{float(f'{value:.4g}'):g}"
    else:
        text = f"{value:.2e}"
    return text.replace("-", "−")


def _part(count: float, size: int) -> str:
    """37 of 1,024 (3.6 %), as numbers.js writes it; the count alone where the size is not known."""
    return _number(count) + (f" of {_number(size)} ({100 * count / size:.1f} %)" if size else "")


def _compact(value: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{float(f'{value / size:.3g}'):g}{sign}"
    return f"{value:.0f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(size for size in (1, 2, 5, 10) if raw / power <= size + 1e-9)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, math.floor(high / step + 1e-9) + 1)]
