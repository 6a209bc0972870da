"""One renderer that draws without a network: a picture for everyone, the live chart for JupyterLab.

Altair's default renderer loads Vega from a CDN. This one puts into the notebook

- `application/vnd.vegalite.v5+json`, the specification, which JupyterLab draws itself, with tooltips. JupyterLab ranks
  it above the picture, so exactly one drawing appears;
- `image/svg+xml`, drawn here by vl-convert, for nbconvert's HTML and whatever else shows a notebook;
- `text/plain`, one line.
"""

from __future__ import annotations

import base64
import html
import io
import re
from typing import Any

VEGALITE = "application/vnd.vegalite.v5+json"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # a name, never fetched; JupyterLab 4 bundles Vega-Lite 5
# SVG stays sharp and can be read aloud; the menu's "Open in Vega Editor" would leave the machine, so it is not offered.
EMBED_OPTIONS = {"renderer": "svg", "actions": {"export": True, "source": False, "compiled": False, "editor": False}}

_USUAL = re.compile(r' (?:pointer-events="none"|opacity="1"|stroke-width="1"|transform="translate\(0,0\)")')
_NOTHING = re.compile(r'<path class="(?:fore|back)ground" aria-hidden="true" d="(?:M0,0h0v0h0Z)?"[^>]*/>')
SCALE = 1.5  # pixels of a PNG for one of the chart


def offline_bundle(spec: dict[str, Any], **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The display data of a Vega-Lite `spec` (a dict) and its metadata, by mime type. Nothing is fetched."""
    data = {
        VEGALITE: {**spec, "$schema": SCHEMA},
        "image/svg+xml": svg(spec),
        "text/plain": _one_line(spec),
    }
    return data, {VEGALITE: {"embed_options": EMBED_OPTIONS}}


def small(svg: str) -> str:
    """The same picture in two thirds of the bytes: a notebook keeps them all. Vega's attributes that say what is so
    anyway go, its marks that draw nothing, and the font that every text names is named once."""
    fonts = re.findall(r'<text [^>]*?( font-family="[^"]*")', svg)
    common = max(set(fonts), key=fonts.count) if fonts else ""

    def tag(found: re.Match[str]) -> str:
        text = _USUAL.sub("", found[0])
        if _NOTHING.fullmatch(text):
            return ""
        if text.startswith("<text "):
            return text.replace(common, "", 1)
        return text.replace("<svg", "<svg" + common, 1) if text.startswith("<svg ") else text

    return re.sub(r"<[^>]*>", tag, svg)


def _one_line(spec: dict[str, Any]) -> str:
    title = spec.get("title", "")
    text = title.get("text", "") if isinstance(title, dict) else title
    return f"<chart: {text}>" if text else "<chart>"


def svg(spec: dict[str, Any]) -> str:
    """A Vega-Lite specification as SVG, drawn here, on white: a card that can be read on a dark page."""
    import vl_convert

    on_white = {**spec, "config": {**spec.get("config", {}), "background": "white"}}
    return small(str(vl_convert.vegalite_to_svg(on_white, allowed_base_urls=[])))


def picture(chart: Any, scale: float = SCALE) -> bytes:
    """An Altair chart as PNG, on white, drawn here; in 64 colours, a fifth of the size, where Pillow is installed."""
    import vl_convert

    spec = chart.to_dict()
    spec["config"] = {**spec.get("config", {}), "background": "white"}
    drawn = vl_convert.vegalite_to_png(spec, scale=scale, allowed_base_urls=[])
    try:
        from PIL import Image
    except ImportError:
        return drawn
    out = io.BytesIO()
    Image.open(io.BytesIO(drawn)).convert("RGB").quantize(64).save(out, "PNG", optimize=True)
    return out.getvalue()


def picture_html(chart: Any, said: str) -> str:
    """``picture`` as an element that stands in HTML by itself, sharp on most screens; for charts of many marks.

    said: its text for whoever cannot see it."""
    image = picture(chart)
    width = int.from_bytes(image[16:20], "big") / SCALE  # of a PNG
    address = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    return f'<img alt="{html.escape(said)}" style="max-width:100%" width="{width:.0f}" src="{address}">'
