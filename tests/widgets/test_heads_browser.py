"""Heads and sources in the feature browser, in Chromium: the panel, the marks under an example's tokens, the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_store import FakeStore, column_of
from saekit_widgets import FeatureBrowser
from saekit_widgets.protocols import FeatureView, Listing

DECODER = [0.02, 0.05, 0.4, 0.03, 0.2, 0.1, 0.06, 0.04, 0.05, 0.025, 0.015, 0.01]
NASTY = "<img src=x onerror=alert(1)>\u202e"
FAMILIES = ["induction", "local", "long-range"]


class HeadsStore(FakeStore):
    """Of twelve heads; each peak comes from the token before it, from itself, and from one that is not shown."""

    @property
    def columns(self) -> dict[str, np.ndarray]:
        found = super().columns
        number = np.arange(self.size)
        return found | {"head": (number % 12).astype("f4"), "family": np.where(number % 4, number % 3, np.nan)}

    def listing(self) -> Listing:
        made = super().listing()
        head = column_of("head", "head", "head", "", "linear", "whole", "", True)
        family = column_of("family", "family", "family", "", "linear", "whole", "", True) | {"names": FAMILIES}
        made["about"] = [*made["about"], head, family]  # type: ignore[list-item]
        made["definitions"]["sources"] = {
            "title": "Heads and sources",
            "text": "What it is.",
            "code": "store.sources(1)",
        }
        return made

    def view(self, latent: int) -> FeatureView:
        view = super().view(latent)
        view["heads"] = {"decoder": DECODER, "activation": DECODER[::-1], "family": "induction"}
        view["heads"] |= {"induction": 0.71, "local": 0.4, "constant": -0.5}
        view["numbers"] |= {"head": {"value": 2.0}, "family": {"value": 0.0}}
        for example in view["examples"]["top"]:
            peak, text = example["peak"], example["pieces"]
            example["sources"] = [
                {"piece": peak - 1, "text": text[peak - 1], "back": 1, "head": 2, "contribution": 1.5},
                {"piece": None, "text": NASTY, "back": 40, "head": 11, "contribution": 1.0},
                {"piece": peak, "text": text[peak], "back": 0, "head": 4, "contribution": -0.75},
                {"piece": peak - 1, "text": text[peak - 1], "back": 1, "head": 0, "contribution": 0.25},
            ]
            if not peak:
                example["sources"] = example["sources"][1:3]
        return view


@pytest.fixture
def opened(live: Any) -> Any:
    def open_browser(width: int = 1280, store: Any = None, **arguments: Any) -> Any:
        widget = FeatureBrowser(store or HeadsStore(), **{"feature": 12, **arguments})
        page = live("feature_browser", widget, width=width)
        page.widget = widget
        page.locator(".side .neighbours, .big").first.wait_for(state="attached")
        return page

    return open_browser


def texts(page: Any, selector: str) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(selector).all_inner_texts()]


def css(page: Any, selector: str, name: str) -> str:
    return page.locator(selector).first.evaluate("(node, name) => getComputedStyle(node)[name]", name)


def test_the_panel_says_the_shares_of_the_strongest_heads(opened: Any) -> None:
    page = opened()
    order = sorted(range(12), key=lambda head: -DECODER[head])[:8]
    assert texts(page, ".sources tbody tr") == [
        f"head {head} {DECODER[head]:.2f} {DECODER[11 - head]:.2f}".replace("0.", ".") for head in order
    ]
    left = f"{sum(DECODER[head] for head in range(12) if head not in order):.2f}".lstrip("0")
    assert f"4 more heads have {left} of the decoder." in texts(page, ".sources p")[0]
    assert "earlier copy .71" in texts(page, ".sources p")[0] and "induction" in texts(page, ".sources .head")[0]
    wide = page.locator(".sources tbody .value i").evaluate_all(
        "all => all.map(one => one.style.getPropertyValue('--w'))"
    )
    assert [float(width.removesuffix("px")) for width in wide[:2]] == pytest.approx([44 * 0.4, 44 * DECODER[9]])
    colours = page.locator(".sources i.by").evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
    assert len(set(colours)) == 8
    page.locator(".sources .question").click()
    assert "What it is." in texts(page, ".popover")[0] and "store.sources(1)" in texts(page, ".popover")[0]
    said = " ".join(texts(page, ".header .numbers div"))
    assert "head 2" in said and "family induction" in said


def test_the_peak_marks_where_it_comes_from(opened: Any) -> None:
    page = opened()
    first = page.locator(".example").first
    assert first.locator(".tk.by").count() == 2  # the cursor is on the first peak
    before = first.locator(".tk.by:not(.peak)")
    assert before.get_attribute("title") == "head 2: +1.50\nhead 0: +0.25\n"
    assert css(page, ".tk.by:not(.peak)", "borderBottomWidth") == "4px"
    assert first.locator(".peak").get_attribute("title") == "head 4: −0.75\n"
    assert (
        css(page, ".peak.by", "borderBottomStyle") == "dotted" and css(page, ".peak.by", "borderBottomWidth") == "3px"
    )
    said = texts(page, ".from > span")
    assert [text.split(" ←")[0] for text in said] == ["head 2", "head 11", "head 4", "head 0"]
    assert said[0].endswith("+1.50") and said[2].endswith("−0.75")
    page.locator(".example").nth(1).locator(".tk").last.hover()
    assert page.locator(".tk.by").count() == 0 and "peaks of top examples" in texts(page, ".from")[0]
    page.locator(".example").nth(1).locator(".peak").hover()
    assert page.locator(".example").nth(1).locator(".tk.by").count() == 2 and first.locator(".tk.by").count() == 0
    page.get_by_role("tab", name="Random +").click()
    assert page.locator(".tk.by").count() == 0


def test_by_keyboard(opened: Any) -> None:
    page = opened()
    page.get_by_role("tabpanel", name="examples").focus()
    for step, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1)):
        page.keyboard.press(step)
        line = page.locator(".example").nth(at)
        assert line.locator(".peak.cursor.by").count() == 1 and page.locator(".cursor").count() == 1
    page.keyboard.press("ArrowLeft")
    assert page.locator(".tk.by").count() == 0
    page.keyboard.press("ArrowRight")
    assert page.locator(".peak.by").count() == 1
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    last = page.locator(".example").last
    assert last.locator(".peak.by").count() == 1
    box, room = last.bounding_box(), page.locator(".rows").bounding_box()
    assert room["y"] - 1 <= box["y"] and box["y"] + box["height"] <= room["y"] + room["height"] + 1


def test_text_of_sources_is_text(opened: Any) -> None:
    page = opened()
    assert "<img␣src=x␣onerror=alert(1)>⟨202E⟩" in page.locator(".from").text_content()
    root = "first.el.firstChild.shadowRoot"
    assert page.evaluate(f"{root}.querySelectorAll('img, script').length") == 0
    assert "40 back" in page.locator(".from > span").nth(1).get_attribute("title")


def test_without_heads_there_is_none_of_it(opened: Any) -> None:
    page = opened(store=FakeStore(), width=1100)
    assert page.locator(".panel.sources").count() == 0 and page.locator(".from").is_hidden()
    assert page.get_by_role("tab", name="Heads").count() == 0 and page.locator(".tk.by").count() == 0


def test_whole_numbers_and_names_are_filtered(opened: Any) -> None:
    page = opened()
    page.get_by_role("button", name="More").click()
    low, high = (page.get_by_label(f"family {side}, number") for side in ("at least", "at most"))
    assert (low.input_value(), high.input_value()) == ("induction", "long-range")
    low.fill("local")
    low.press("Enter")
    page.wait_for_function("busy === 0 && model.get('filter').family")
    assert page.widget.filter == {"family": [1.0, None]}
    expected = [latent for latent in page.widget.latents().latent if latent % 4 and latent % 3]
    assert len(page.widget.latents()) == len(expected) > 50
    most = page.get_by_label("head at most", exact=True)
    most.evaluate("one => { one.value = 99; one.dispatchEvent(new Event('input')); }")  # 5.445 of 0 … 11
    assert page.get_by_label("head at most, number").input_value() == "5"
    page.wait_for_function("busy === 0 && model.get('filter').head")
    assert max(page.widget.latents()["head"]) == 5
    page.locator(".count select").select_option("family")
    page.wait_for_function("busy === 0 && model.get('sort')")
    assert texts(page, ".item .last")[0] == "long-range"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1100), ("light", 600)])
def test_the_file_has_it(browser: Any, tmp_path: Path, scheme: str, width: int) -> None:
    path = FeatureBrowser(HeadsStore(), feature=12).export_html(tmp_path / "features.html", features=[12, 15])
    for page in _opened(browser, path, scheme, width):
        if width < 1250:
            page.get_by_role("tab", name="Heads").click()
        assert page.locator(".sources tbody tr:visible").count() == 8
        cut = page.locator(".sources td, .sources th").evaluate_all(
            "all => all.filter(a => a.scrollWidth > a.clientWidth + 1).length"
        )
        assert cut == 0
        assert page.locator(".peak.by").count() == 1 and page.locator(".from").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _opened(browser: Any, path: Path, scheme: str, width: int) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=scheme)
    outside: list[str] = []
    page.on("request", lambda r: None if r.url.startswith(("blob:", path.as_uri())) else outside.append(r.url))
    page.on("pageerror", lambda error: outside.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function("window.ready")
    page.locator(".example").first.wait_for()
    yield page
    page.close()
    assert outside == []
