"""The card of a feature: every number of the view is there as text, nothing of it is a tag, an address or a script."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saekit.features.showing.card import Card, feature_card

PLAIN = {
    "div",
    "h4",
    "h5",
    "p",
    "b",
    "i",
    "code",
    "small",
    "span",
    "table",
    "tr",
    "td",
    "th",
    "svg",
    "g",
    "path",
    "style",
}


class Parsed(HTMLParser):
    """The tags of the HTML, its attributes, and its text without the style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text, self.inside = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.inside = tag
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside != "style":
            self.text += data


def test_every_number_is_there_as_text(make_view: Callable[..., Any]) -> None:
    text = Parsed(feature_card(make_view(), "stores/first", "TopK k = 32", "a name")).text
    for said in [
        "4217 a name",
        "alive · density 0.5 % · max 8 · concept intro.name F1 0.83, 62% of its firings · loss effect +0.117 nats",
        "stores/first · TopK k = 32",
        "8.00 Once upon a time, a boy named Tim and Jack. They ran",
        "7.50 ↵ there was a girl named Борис. Борис had a 🐻.",
        "99.50 % at zero",
        "0mean 3.5max 8",
        "␣Lily+2.31␣the−1.42",
        "↵+0.25␣went−0.25",
        "90340.710.18",
        "188−0.44–",
    ]:
        assert said in text, said


def test_nothing_of_the_data_becomes_markup(make_view: Callable[..., Any]) -> None:
    page = Parsed(feature_card(make_view(), "<img src=x onerror=alert(1)>", '"><a href="http://x">', "<u>x</u>"))
    assert page.tags <= PLAIN
    assert "<u>x</u>" in page.text and "<img src=x onerror=alert(1)>" in page.text and " <script>alert(1)" in page.text
    assert {name for name, _ in page.attributes} & {"href", "src", "onerror", "onclick", "id"} == set()
    assert not any("url(" in value or "://" in value for _, value in page.attributes)


def test_style_sheets_have_no_address_and_stay_inside(make_view: Callable[..., Any]) -> None:
    html = feature_card(make_view(), "", "")
    sheets = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert len(sheets) == 2 and not re.search(r"url\(|@import|://", "".join(sheets))
    inner = re.compile(r"\{[^{}]*\}")
    flat = inner.sub("{}", re.sub(r"@container[^{]*\{(.*?\})\}", r"\1", "".join(sheets), flags=re.DOTALL))
    flat = re.sub(r"\{(?:[^{}]*\{\})+\}", "{}", flat)  # what is nested is inside by its making
    for selector in re.findall(r"(?:^|\})\s*([^{}@]+)\{", flat):
        assert all("saekit-" in part for part in selector.split(",")), selector


def test_histogram_bars_have_the_tokens_colours_and_log_heights(make_view: Callable[..., Any]) -> None:
    html = feature_card(make_view(), "", "")
    plus = re.search(r'<g class="plus"[^>]*>(.*?)</g>', html)[1]
    bars = re.findall(r'opacity="([\d.]+)" d="M([\d.]+) 60V([\d.]+)h73V60"', plus)
    # 4 bins of 73; the third is empty; log(7)/log(10) and log(6)/log(10) of 60; 0.1 + 0.9 · 1/8, 3/8, 7/8
    expected = [[0.2125, 0, 60 - 60], [0.4375, 73, 60 - 50.71], [0.8875, 219, 60 - 46.69]]
    assert np.array(bars, dtype=float) == pytest.approx(np.array(expected), abs=0.06)


def test_signed_codes_are_drawn_by_their_size(make_view: Callable[..., Any]) -> None:
    numbers = {"max": {"value": 8.0, "low": -10.0}}
    drawn = {"edges": [-10.0, 0.0, 10.0], "counts": [3, 3]}
    view = make_view(minimum=-10.0, histogram=drawn, maximum=8.0, numbers=numbers)
    html = feature_card(view, "", "")
    drawn = re.findall(r'<g class="(plus|minus)"[^>]*><path opacity="([\d.]+)"', html)
    assert sorted(drawn) == [("minus", ".55"), ("plus", ".55")]
    assert "max 8 · min −10" in html
    assert "--a:0.820" in html  # the strongest token, 8, against the strongest firing, −10: 0.1 + 0.9 · 0.8


def test_a_dead_feature_is_said_in_words(make_view: Callable[..., Any]) -> None:
    empty = {"top": [], "random": [], "near": [], "interval": [], "quantile": []}
    view = make_view(
        firings=0, density=0.0, maximum=0.0, mean=None, histogram=None, examples=empty, concepts=[],
        numbers={"density": {"value": 0.0}, "max": {"value": 0.0}, "f1": {"value": None}},
        next_alive=4219, absent={"histogram": "It never fires.", "examples": "It never fires."},
    )  # fmt: skip
    text = Parsed(feature_card(view, "stores/first", "facts")).text
    assert "dead: it never fired in this store" in text and "This feature never fired in this store" in text
    assert "The next feature that fires is 4219." in text
    assert "␣Lily+2.31" in text and "90340.71" in text
    assert "nan" not in text.lower() and "None" not in text


def test_an_absent_panel_says_why(make_view: Callable[..., Any]) -> None:
    absent = {
        "histogram": "The histogram <was> not kept.",
        "logits": "It reads no stream.",
        "neighbours": "Not measured.",
        "examples": "The examples' file is damaged.",
    }
    view = make_view(histogram=None, logits=None, neighbours=[], examples={"top": []}, absent=absent)
    view["numbers"]["loss_effect"] = {"value": None, "more": "Not measured."}
    text = Parsed(feature_card(view, "", "")).text
    for sentence in absent.values():
        assert sentence in text
    assert "loss effect" not in text


def test_the_wrapper_draws_the_card(make_view: Callable[..., Any]) -> None:
    card = Card(make_view(), "stores/first", "facts", "a name")
    assert card._repr_html_() == card.html == feature_card(make_view(), "stores/first", "facts", "a name")
    lines = repr(card).splitlines()
    assert lines[0] == "feature 4217 'a name' of stores/first"
    assert lines[1].startswith("alive · density 0.5 % · max 8 · concept intro.name F1 0.83, 62% of its firings")


# -- in a browser ----------------------------------------------------------------------------------------------------

LIGHT = ' data-jp-theme-light="true" style="--jp-layout-color0:#fff;--jp-content-font-color1:rgba(0,0,0,.87)"'
DARK = ' data-jp-theme-light="false" style="background:#111;--jp-layout-color0:#111;--jp-content-font-color1:#fff"'
CUT = """() => [...document.querySelectorAll('.saekit-feature :is(td, th, h4, h5, p)')].filter(node =>
    node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).textOverflow !== 'ellipsis')
    .map(node => node.textContent)"""

OVERLAP = """() => [...document.querySelectorAll('.side .panel')].filter(panel =>
    [...panel.querySelectorAll('table, svg')].some(inside =>
        inside.getBoundingClientRect().right > panel.getBoundingClientRect().right + 1))
    .map(panel => panel.innerText)"""


@pytest.mark.parametrize("width", [900, 600, 400])
@pytest.mark.parametrize("body", [LIGHT, DARK, ""], ids=["light", "dark", "saved file"])
def test_it_fits_its_cell(browser: Any, make_view: Callable[..., Any], width: int, body: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 700})
    html = feature_card(make_view(), "stores/first", "TopK k = 32 · 500,000 tokens of microworld/train", "a name " * 20)
    page.set_content(f"<!doctype html><body{body}>{html}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(CUT) == []
    assert page.evaluate(OVERLAP) == []
    beside = page.evaluate(
        "document.querySelector('.side').getBoundingClientRect().left"
        " > document.querySelector('.main').getBoundingClientRect().right - 1"
    )
    assert beside is (width == 900)
    page.close()


def test_a_card_is_saved_as_a_small_page(make_view, tmp_path: Path) -> None:
    title = str(tmp_path / "stores" / "<first>")
    card = Card(make_view(), title, "TopK k = 32", "names <b>", {9034: "others"})
    path = card.save(tmp_path / "new" / "one.html")
    text = path.read_text(encoding="utf-8")
    assert path == tmp_path / "new" / "one.html" and len(text.encode()) < 30_000
    assert text.startswith("<!doctype html>") and "<title>&lt;first&gt; · 4217</title>" in text
    assert "names &lt;b&gt;" in text and "&lt;script&gt;" in text and "<script" not in text
    assert str(tmp_path) not in text and "://" not in text
    with pytest.raises(ValueError, match=r"path is a file to write, as '.*feature\.html'; '.*' is a folder"):
        card.save(tmp_path)
