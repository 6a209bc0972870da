"""The feature browser in Chromium: on an offline page with Python behind it, and as the file that it exports."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from fake_store import ABOUT, ABSENT, BROKEN, CONTEXT, DEAD, LINES, LONG, NASTY, PANELS, SIGNED, FakeStore
from saekit_widgets import FeatureBrowser


@pytest.fixture
def opened(live: Any) -> Any:
    """opened(feature=…, width=…): the browser on a page, drawn; the page has `store` and `widget`."""

    def open_browser(
        *, size: int = 400, width: int = 1280, wait: bool = True, model: Any = "model", **arguments: Any
    ) -> Any:
        store = FakeStore(size)
        widget = FeatureBrowser(store, model=model, **{"feature": 12, **arguments})
        page = live("feature_browser", widget, width=width)
        page.store, page.widget = store, widget
        if wait:
            drawn(page, widget.feature)
        return page

    return open_browser


def drawn(page: Any, latent: int) -> None:
    page.locator(".header .number", has_text=str(latent)).wait_for()
    page.locator(".side .neighbours, .big").first.wait_for(state="attached")


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def css(page: Any, selector: str, name: str) -> str:
    return page.locator(selector).first.evaluate("(node, name) => getComputedStyle(node)[name]", name)


def until(page: Any, expression: str) -> None:
    page.wait_for_function(expression, timeout=5000)


def python(page: Any) -> FeatureBrowser:
    """The widget in Python, when it has heard all that the page said."""
    until(page, "busy === 0")
    return page.widget


def shown(page: Any) -> list[int]:
    """The list, as Python gives it."""
    return python(page).latents()["latent"].tolist()


def focus(page: Any) -> str:
    """What has the focus, by the name that is spoken; "" for the page."""
    return page.evaluate(
        """() => {
          const at = first.el.firstChild.shadowRoot.activeElement;
          return at ? at.ariaLabel || at.title || at.textContent : "";
        }"""
    )


# -- drawing ----------------------------------------------------------------------------------------------------------


def test_everything_of_a_feature_is_drawn(opened) -> None:
    page = opened()
    store, view = page.store, page.store.view(12)
    assert texts(page, ".bar b") == ["stores/first"]
    assert page.locator(".label").input_value() == store.labels[12]["label"]
    facts = " ".join(texts(page, ".header .numbers div")).replace("\n", " ").replace("?", "")
    assert "alive" in facts and f"max {store.maximum[12]:.2f}" in facts.replace("  ", " ")
    assert "intro.name F1 .83" in facts and "+0.117 nats" in facts
    assert "names of <b>people</b>" in texts(page, ".explanations")[0]  # text, never markup
    assert "detection .93 · fuzzing .88" in texts(page, ".explanations")[0]
    values = [float(text) for text in texts(page, ".example > b")]
    assert values == [round(one["value"], 2) for one in view["examples"]["top"]] and len(values) == 14
    assert "3 copies hidden" in texts(page, ".caption")[0] and texts(page, ".copies") == ["+3"]
    assert page.locator(".bars rect").count() == 24
    assert page.locator(".logits .piece").count() == 12
    assert {"␣Lily", "↵↵", "⇥", "⟨202E⟩", "<b>"} <= set(texts(page, ".logits .piece"))
    cosines = texts(page, ".neighbours tbody tr td:nth-child(3)")
    assert cosines[:2] == [".71", ".59"] and len(cosines) == 7


def test_peaks_stand_in_one_column_and_only_whole_tokens_are_seen(opened) -> None:
    page = opened()
    lefts = page.locator(".peak").evaluate_all("all => all.map(one => one.getBoundingClientRect().left)")
    assert max(lefts) - min(lefts) < 0.6 and len(lefts) == 14
    cut = page.locator(".example").evaluate_all(
        """rows => rows.flatMap(row => [...row.querySelectorAll('div')].flatMap(half => {
          const box = half.getBoundingClientRect();
          return [...half.querySelectorAll('.tk:not(.peak)')].filter(token => {
            const one = token.getBoundingClientRect();
            const seen = one.top < box.bottom - 1 && one.bottom > box.top + 1;
            return seen && (one.left < box.left - 1 || one.right > box.right + 1) && one.width < box.width;
          });
        })).length"""
    )
    assert cut == 0
    strongest, silent = ".example .peak", ".example .tk:not(.plus)"
    assert css(page, strongest, "backgroundColor") != css(page, silent, "backgroundColor")


def test_untrusted_text_stays_text(opened) -> None:
    page = opened(feature=NASTY)
    assert page.evaluate("document.querySelector('main, div').querySelectorAll('img, script').length") == 0
    root = "first.el.firstChild.shadowRoot"
    assert page.evaluate(f"{root}.querySelectorAll('img, script, b b').length") == 0
    row = page.locator(f"#f{NASTY} .name").inner_text()
    assert row.startswith("<img src=x") and "⟨202E⟩" in page.locator(f"#f{NASTY} .name").text_content()
    assert "\u202e" not in page.evaluate(f"{root}.querySelector('.examples').textContent")
    assert page.locator(".note").input_value() == "<b>n</b>"
    page = opened(feature=SIGNED)
    assert page.locator(".label").input_value() == LONG
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_signed_codes_have_a_sign_a_colour_and_dots(opened) -> None:
    page = opened(feature=SIGNED)
    assert any(text.startswith("−") for text in texts(page, ".example > b"))
    assert css(page, ".tk.minus", "borderTopStyle") == "dotted"
    assert page.locator(".bars rect.minus").count() > 3 and "min −" in texts(page, ".scale")[0]
    lowest, highest, strongest = (
        f"{float(values[SIGNED]):.2f}".replace("-", "−")
        for values in (page.store.minimum, page.store.maximum, page.store.strongest)
    )
    assert lowest == f"−{strongest}"
    assert f"range {lowest} – {highest}" in " ".join(texts(page, ".header .numbers div")).replace("\n", " ")
    assert strongest in texts(page, f"#f{SIGNED} .last")
    page.get_by_role("tab", name="Intervals").click()
    assert f"Sizes |z| from 0 – {strongest} cut into 5 bands of equal width" in texts(page, ".caption")[0]
    assert texts(page, ".band b")[0].endswith(f"– {strongest}")
    places = page.locator(".mark").evaluate_all("all => all.map(one => one.getBBox().x)")
    assert len(places) > 4 and all(0 <= x <= 292 for x in places)


def test_a_dead_feature_says_so_and_leads_on(opened) -> None:
    page = opened(feature=DEAD)
    assert (
        texts(page, ".big > b") == ["This feature never fired in this store"]
        and "dead" in texts(page, ".header .numbers")[0]
    )
    silent = int((page.store.density == 0).sum())
    said = f"dead {silent} of 400 ({silent / 4:.1f} %)"  # a count and a share, here as everywhere
    assert page.get_by_title(said).count() == 3 and said in page.locator(".bar .wide").inner_text()
    assert "Where it came closest:" in texts(page, ".big p")  # one near miss
    assert page.locator(".example").count() == 1 and page.locator(".example .silent").count() == 1
    assert page.locator(".bars").count() == 0 and page.locator(".logits tr").count() == 12
    page.get_by_role("button", name="Next feature that fires").click()
    drawn(page, DEAD + 1)
    assert python(page).feature == DEAD + 1


def test_what_the_store_lacks_is_said_in_its_panel(opened) -> None:
    page = opened(feature=ABSENT)
    for panel in ("histogram", "logits", "neighbours"):
        assert texts(page, f".panel.{panel} .absent") == [f"The store was built without {panel}."]
    assert texts(page, ".rows .absent") == ["The store was built without examples."]


def test_logits_that_nobody_asks_for_have_no_panel(opened, monkeypatch) -> None:
    """Of a store over arrays."""
    real = FakeStore.view
    monkeypatch.setattr(FakeStore, "view", lambda store, latent: {**real(store, latent), "logits": None, "absent": {}})
    page = opened()
    assert page.locator(".side .panel").count() == 2 and not page.locator(".panel.logits").count()


def test_a_part_that_cannot_be_drawn_leaves_the_others(opened, monkeypatch) -> None:
    plain = FakeStore.view
    broken = {"histogram": {"counts": [1]}, "logits": {"top": 7}}
    monkeypatch.setattr(FakeStore, "view", lambda store, latent: {**plain(store, latent), **broken})
    page = opened()
    assert [text.split(".")[0] for text in texts(page, ".side [role=alert]")] == ["This part cannot be drawn"] * 2
    assert page.locator(".neighbours tbody tr").count() == 7 and page.locator(".example").count() == 14


def test_which_sources_are_not_shown_is_said_under_the_caption(opened, monkeypatch) -> None:
    plain = FakeStore.view
    said = {"sources": "Which earlier tokens it reads from is not shown yet."}
    monkeypatch.setattr(FakeStore, "view", lambda store, latent: {**plain(store, latent), "absent": said})
    page = opened()
    assert texts(page, ".lacking:visible") == [said["sources"]]
    monkeypatch.setattr(FakeStore, "view", plain)
    page.locator(".item").nth(3).click()
    page.locator(".lacking").wait_for(state="hidden")
    assert "one column" in texts(page, ".caption:visible")[0]


def test_of_a_long_path_the_end_is_shown(opened, monkeypatch) -> None:
    plain, path = FakeStore.listing, "/a/long/way/to/stores/first"
    monkeypatch.setattr(FakeStore, "listing", lambda store: {**plain(store), "title": path})
    page = opened()
    assert texts(page, ".bar b") == ["stores/first"] and page.locator(".bar b").get_attribute("title") == path


def test_a_feature_that_cannot_be_read_leaves_the_rest_usable(opened) -> None:
    page = opened(feature=BROKEN)
    assert "part-0007.parquet ends" in texts(page, ".body .big")[0]
    page.locator(".item").nth(3).click()
    page.locator(".example").first.wait_for()


def test_tabs_draw_their_examples_and_the_cuts(opened) -> None:
    page = opened()
    assert page.locator(".mark").count() == 0
    page.get_by_role("tab", name="Quantiles").click()
    assert page.locator(".band").count() == 5 and page.locator(".mark").count() == 4
    assert "80 – 100 % of firings" in texts(page, ".band")[0] and python(page).tab == "quantile"
    page.widget.tab = "near"
    page.push()
    assert page.locator(".example").count() == 8 and page.locator(".silent").count() == 8
    assert texts(page, ".example > b")[0].startswith("−")
    page.get_by_role("tab", name="Random +").click()
    assert page.locator(".example").count() == 10
    page.keyboard.press("ArrowLeft")  # the focus is on the tabs
    assert python(page).tab == "quantile" and page.locator(".band").count() == 5


# -- the list ---------------------------------------------------------------------------------------------------------


def test_list_shows_what_python_says(opened) -> None:
    page = opened(filter={"max": [5, None]}, sort=["density", True])
    numbers = [int(text) for text in texts(page, ".item .index")]
    listed = shown(page)
    assert page.locator(".count [role=status]").inner_text() == f"{len(listed)} of 400"
    assert set(numbers) <= set(listed) and numbers == sorted(numbers, key=listed.index)


def test_search_filters_switches_and_sort(opened) -> None:
    page = opened()
    page.locator(".search input").fill("closing bracket")
    until(page, "model.get('filter').search === 'closing bracket'")
    assert set(texts(page, ".item .name")) == {"closing bracket of a call"}
    page.locator(".search input").fill("Борис")
    until(page, "model.get('filter').search === 'Борис'")
    page.locator(".search input").fill(" Zig")  # a token, which no text of the list has
    page.locator("#f12").wait_for()
    assert texts(page, ".item .index") == [str(n) for n in page.store.matching({"search": " Zig"}, None)]
    assert sorted(texts(page, ".item .index")) == ["12", "20"] == sorted(map(str, page.widget.latents()["latent"]))
    page.locator(".search input").fill("")
    until(page, "!('search' in model.get('filter'))")
    page.get_by_role("button", name="Starred").click()
    assert texts(page, ".item .index") == [str(NASTY)] and python(page).filter == {"starred": True}
    page.get_by_role("button", name="Starred").click()
    page.get_by_role("button", name="Dead", exact=True).click()
    assert set(texts(page, ".item .first")) == {"dead"}
    page.get_by_role("button", name="Dead", exact=True).click()
    page.locator("select[aria-label='best matched concept']").select_option("code.bracket")
    until(page, "model.get('filter').concept === 'code.bracket'")
    assert python(page).filter == {"concept": "code.bracket"}
    page.widget.filter = {}
    page.push()
    page.locator(".heads .first button").click()
    assert python(page).sort == ["density", True]
    page.locator(".heads .first button").click()
    assert python(page).sort == ["density", False]
    page.locator("select[aria-label='sorted by']").select_option("loss_effect")
    until(page, "model.get('sort')[0] === 'loss_effect'")
    assert texts(page, ".heads .last") == ["loss effect ↓"]
    best = float(np.nanmax(np.where(page.store.density > 0, page.store.effect, np.nan)))
    page.locator(".sight").evaluate("node => { node.scrollTop = 0 }")
    page.wait_for_timeout(50)
    assert texts(page, ".item .last")[0] == f"+{best:.3f}"
    page.locator("select[aria-label='sorted by']").select_option("")
    until(page, "model.get('sort') === null")
    page.locator(".sight").evaluate("node => { node.scrollTop = 0 }")
    page.wait_for_timeout(50)
    assert texts(page, ".item .index")[:5] == [str(n) for n in page.store.matching({}, None)[:5]]
    assert texts(page, ".heads .last") == ["max"] and python(page).sort is None


def test_handles_and_their_numbers_filter(opened) -> None:
    page = opened()
    low = page.get_by_label("max at least", exact=True)
    low.focus()
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    edge = python(page).filter["max"][0]
    assert edge > 3 and python(page).filter["max"][1] is None
    assert page.locator(".range .out").count() > 5
    assert all(page.store.strongest[int(text)] >= edge for text in texts(page, ".item .index"))
    field = page.get_by_label("density % at most, number")
    field.fill("0.1")
    field.press("Enter")
    until(page, "model.get('filter').density?.[1] === 0.001")
    page.widget.filter = {}
    page.push()
    assert page.locator(".range .out").count() == 0


@pytest.mark.parametrize("width", [1280, 1116, 900, 600])
def test_handles_never_lie_on_each_other(opened, width) -> None:
    page = opened(width=width, filter={"max": [6, 6.001], "density": [0.0005, 0.0005]})
    if width == 600:
        page.get_by_role("button", name="More").click()
    reach = page.locator(".browser").evaluate(
        """browser => [...browser.querySelectorAll(".range")].filter(one => one.checkVisibility()).flatMap(range => {
          const root = browser.getRootNode();
          return [...range.querySelectorAll("input[type=range]")].map(one => {
            const box = one.getBoundingClientRect();
            const at = box.left + (one.value / 200) * (box.width - 6) + 3; // the middle of its thumb
            return root.elementFromPoint(at, box.top + 7) === one;
          });
        })"""
    )
    assert len(reach) >= 4 and all(reach)
    apart = page.locator(".handles:visible").evaluate_all(
        """all => all.map(one => one.getBoundingClientRect()).flatMap((a, i, boxes) => boxes.slice(i + 1)
          .filter(b => b.top === a.top).map(b => b.left - a.right))"""
    )
    assert all(gap >= 2 * 6 + 4 for gap in apart)  # a handle stands out by 6 px on each side


def test_an_explanation_is_a_name_until_a_person_gives_one(opened) -> None:
    page = opened()
    page.store.explain(13, "concept(intro.name) & ~tokens(' <b>')")
    page.locator(".browser").dispatch_event("pointerenter")
    page.locator(".search input").fill("~tokens(' <B>")
    name = page.locator("#f13 .name.explained")
    name.wait_for()
    assert name.inner_text() == "intro.name & ~tokens(' <b>')" and texts(page, ".item .index") == ["13"]
    assert "explained as intro.name" in name.get_attribute("title")
    assert name.evaluate("node => getComputedStyle(node).fontStyle") == "italic"
    page.store.set_label(13, label="mine")
    page.locator(".browser").dispatch_event("pointerenter")
    page.locator("#f13 .name.strong", has_text="mine").wait_for()


def test_a_new_score_is_listed_sorted_and_filtered(opened) -> None:
    page = opened()
    options = "select[aria-label='sorted by'] option"
    assert "by detection" not in texts(page, options)
    assert page.get_by_label("detection at least", exact=True).count() == 0
    for latent, score in ((20, 0.7), (22, 0.9)):
        page.store.score(latent, score)
    page.locator(".browser").dispatch_event("pointerenter")  # which asks for news
    until(page, f"[...first.el.firstChild.shadowRoot.querySelectorAll({options!r})].at(-1).value === 'detection'")
    page.locator("select[aria-label='sorted by']").select_option("detection")
    assert texts(page, ".item .index")[:2] == ["22", "20"]
    page.store.score(24, 0.95)
    page.locator(".browser").dispatch_event("pointerenter")
    page.locator("#f24 .last", has_text=".95").wait_for()
    assert texts(page, ".item .index")[:3] == ["24", "22", "20"]
    page.widget.filter = {"detection": [0.8, None]}
    page.push()
    assert texts(page, ".item .index") == ["24", "22"] and shown(page) == [24, 22]
    field = page.get_by_label("detection at least, number")  # opened, since it filters
    assert field.input_value() == ".80"
    field.fill("0.92")
    field.press("Enter")
    assert shown(page) == [24] and texts(page, ".item .index") == ["24"]


def test_what_waits_for_the_model_is_measured_when_a_feature_is_opened(opened) -> None:
    page = opened(sort=["loss_effect", True])
    page.store.waits = {12, 20, NASTY}
    page.store.effect[[12, 20]] = page.widget._listing["columns"]["loss_effect"][[12, 20]] = np.nan
    page.evaluate("sent.length = 0")
    page.widget.feature = 20
    page.push()
    drawn(page, 20)
    page.locator(".header .numbers", has_text="+0.117 nats").wait_for()
    kinds = [content["kind"] for content in page.evaluate("sent") if content.get("latent") == 20]
    assert kinds == ["feature", "measure", "feature"], "measured once, then read again"
    assert page.widget._listing["columns"]["loss_effect"][20] == np.float32(0.117)
    page.locator("#f20 .last", has_text="+0.117").wait_for()  # the list, which is sorted by it
    page.widget.feature = NASTY
    page.push()
    page.locator(".line", has_text="the model is out of memory").wait_for()
    assert "–" in page.locator(".header .numbers").inner_text()


def test_without_a_model_what_waits_for_it_is_said(opened) -> None:
    page = opened(model=None)
    page.store.waits = {20}
    page.widget.feature = 20
    page.push()
    drawn(page, 20)
    page.get_by_role("button", name="what is Loss effect?").click()
    assert "Not measured yet." in texts(page, ".popover")[0]
    page.wait_for_timeout(200)  # longer than a measurement waits to be asked for
    assert all(content["kind"] != "measure" for content in page.evaluate("sent"))


def test_a_further_column_is_drawn_by_its_words_alone(opened, monkeypatch) -> None:
    entropy = np.where(np.arange(400) % 2, np.nan, np.arange(400) / 10).astype("f4")
    known, numbers = FakeStore.columns.fget, FakeStore.numbers
    own = {"entropy": {"value": 1.2, "more": "Over 9 documents."}}
    monkeypatch.setattr(FakeStore, "columns", property(lambda store: {**known(store), "entropy": entropy}))
    monkeypatch.setattr(
        FakeStore, "numbers", lambda store, latent, *, absent: numbers(store, latent, absent=absent) | own
    )
    words = ("entropy", "entropy", "H", "", "linear", "fixed", "bits", True)
    monkeypatch.setattr("fake_store.ABOUT", [*ABOUT, words])
    monkeypatch.setitem(PANELS, "entropy", ("Entropy", "Of its documents.", "store.latents().entropy"))
    page = opened(filter={"entropy": [0.5, None]})
    assert page.get_by_label("entropy at least, number").input_value() == "0.5"
    assert "entropy 1.20 bits" in " ".join(texts(page, ".header .numbers div")).replace("\n", " ").replace("?", "")
    page.get_by_role("button", name="what is Entropy?").click()
    assert texts(page, ".popover")[0].split("\n")[0] == "Entropy" and "Over 9 documents." in texts(page, ".popover")[0]
    page.locator("select[aria-label='sorted by']").select_option(label="by H")
    until(page, "model.get('sort')[0] === 'entropy'")
    assert texts(page, ".heads .last") == ["H ↓"]
    page.locator(".sight").evaluate("node => { node.scrollTop = 0 }")
    page.locator(f"#f{shown(page)[0]}").wait_for()
    assert texts(page, ".item .last")[0] == f"{np.nanmax(entropy[page.store.density > 0]):.2f}"
    assert [int(text) for text in texts(page, ".item .index")] == shown(page)[: page.locator(".item").count()]
    field = page.get_by_label("your prompt", exact=True).locator("input")
    field.fill("one two")
    field.press("Enter")
    page.locator("select[aria-label='sheet sorted by'] option", has_text="by H").wait_for(state="attached")


def test_an_empty_list_says_why_and_offers_a_way_out(opened) -> None:
    page = opened(filter={"search": "closing brackets dragon", "starred": True})
    assert "No feature matches" in texts(page, ".nothing")[0] and "Without the search" in texts(page, ".nothing")[0]
    page.get_by_role("button", name="closing bracket of a call").click()
    until(page, "model.get('feature') !== 12")
    page.get_by_role("button", name="Show all").click()
    assert page.locator(".nothing").is_hidden() and python(page).filter == {}


# -- choosing, keys ---------------------------------------------------------------------------------------------------


def test_choosing_goes_both_ways(opened) -> None:
    page = opened()
    heard: list[int] = []
    page.widget.on_select(heard.append)
    latent = int(page.locator(".item:not(.chosen) .index").nth(2).inner_text())
    page.locator(f"#f{latent}").click()
    drawn(page, latent)
    assert python(page) and heard == [latent] and page.locator(".item.chosen .index").inner_text() == str(latent)
    page.widget.feature = 33
    page.push()
    drawn(page, 33)
    assert page.locator(".item.chosen .index").inner_text() == "33"  # and scrolled into sight
    page.locator(".neighbours .link.mono").first.click()
    until(page, "model.get('feature') !== 33")
    assert python(page).feature == heard[-1]


def test_keyboard(opened) -> None:
    page = opened()
    order = shown(page)
    page.locator(".examples .caption").click()
    page.keyboard.press("j")
    drawn(page, order[order.index(12) + 1])
    page.keyboard.press("k")
    drawn(page, 12)
    for key, tab in zip("2345", ("interval", "quantile", "random", "near"), strict=True):
        page.keyboard.press(key)
        assert python(page).tab == tab
    page.keyboard.press("1")
    before = texts(page, ".readout")[0]
    page.keyboard.press("ArrowRight")
    after = texts(page, ".readout")[0]
    page.keyboard.press("ArrowLeft")
    assert before != after and texts(page, ".readout")[0] == before
    page.keyboard.press("t")
    assert page.locator(".example.full").count() == 14
    page.keyboard.press("s")
    until(page, "model.get('starred').includes(12)")
    assert python(page)._store.labels[12]["star"] is True
    page.keyboard.press("?")
    assert "full screen" in texts(page, ".popover")[0]
    page.keyboard.press("Escape")
    assert page.locator(".popover").is_hidden()
    focused = "first.el.firstChild.shadowRoot.activeElement"
    for key, name in {"/": "field", "e": "label", "n": "note", "p": "field mono"}.items():
        page.keyboard.press(key)
        assert page.evaluate(f"{focused}.className") == name
        page.keyboard.type("jt")  # text, not commands
        page.keyboard.press("Escape")
        assert page.evaluate(f"{focused}.className").startswith("sk") or key == "/"
        page.locator(".examples .caption").click()
    assert python(page).feature == 12 and page.locator(".example.full").count() == 14


def test_what_is_drawn_anew_keeps_the_focus_and_none_falls_to_the_page(opened) -> None:
    page = opened()
    page.locator(".heads button", has_text="density").click()
    page.locator(".heads button", has_text="density").press("Enter")
    assert python(page).sort == ["density", False]  # which needed the focus
    page.get_by_role("button", name="what is Neighbours?").focus()
    page.store.set_label(12, label="another")
    page.locator(".browser").dispatch_event("pointerenter")
    page.locator("#f12 .name", has_text="another").wait_for()
    assert focus(page) == "what is Neighbours?"
    page.locator(".neighbours th .link", has_text="φ").click()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.locator(".neighbours th[aria-sort=descending]").inner_text() == "cos ↓"
    page.locator(".neighbours .link.mono").first.click()  # which goes with the feature
    until(page, "model.get('feature') !== 12 && busy === 0")
    assert focus(page) == "feature browser"
    before = page.widget.feature
    page.keyboard.press("j")  # so its keys go on
    assert python(page).feature != before
    page.widget.feature = DEAD
    page.push()
    page.get_by_role("button", name="Next feature that fires").click()
    drawn(page, DEAD + 1)
    assert focus(page) == "Next feature that fires"  # that one is dead too
    page.widget.feature = BROKEN
    page.push()
    page.get_by_role("button", name="Try again").click()
    until(page, "busy === 0")
    assert focus(page) in ("feature browser", "Try again")
    page.evaluate("fromPython.message({kind: 'labels', labels: 7})")
    page.locator(".line.failed").get_by_role("button", name="Close").click()
    assert focus(page) == "feature browser"


def test_what_is_scored_or_measured_meanwhile_leaves_the_reader_where_he_reads(opened) -> None:
    page = opened(height=400)
    page.locator(".rows").evaluate("one => { one.scrollTop = 60 }")
    page.locator(".example").nth(5).locator(".tk").nth(2).click()
    said = texts(page, ".readout")
    page.store.score(12, 0.9)
    page.evaluate(
        """() => {
          const kernel = window.kernel; // now one that takes its time
          window.kernel = async (said) => {
            const out = await kernel(said);
            await new Promise((done) => setTimeout(done, 300));
            return out;
          };
        }"""
    )
    page.locator(".browser").dispatch_event("pointerenter")  # which asks for news
    until(page, "sent.filter(one => one.kind === 'feature' && one.latent === 12).length === 2 && busy > 0")
    page.wait_for_timeout(200)
    assert page.locator(".example").count() == 14  # they stay meanwhile
    until(page, "busy === 0")
    page.wait_for_timeout(50)
    assert page.locator(".rows").evaluate("one => one.scrollTop") == 60 and texts(page, ".readout") == said
    page.keyboard.press("2")
    assert page.locator(".rows").evaluate("one => one.scrollTop") == 0  # other examples begin at the top


def test_tokens_read_out(opened) -> None:
    page = opened()
    one = page.store.view(12)["examples"]["top"][0]
    shown = texts(page, ".readout")[0].replace("\n", " ")
    assert f"z {one['value']:.2f}" in shown and f"doc {one['document']} : {one['position']}" in shown
    page.locator(".example").nth(3).locator(".tk.plus").first.hover()
    assert texts(page, ".readout")[0].replace("\n", " ") != shown
    page.locator(".caption").hover()
    assert texts(page, ".readout")[0].replace("\n", " ") == shown  # back to the cursor


def test_underlines_and_readout_tell_the_loss_effect(opened) -> None:
    page = opened()
    one = page.store.view(12)["examples"]["top"][0]
    strongest = max(abs(e) for x in page.store.view(12)["examples"]["top"] for e in x["loss_effect"] if e is not None)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Full text").click()  # in the order of the text
    tokens = page.locator(".example").first.locator(".tk")
    assert tokens.count() == len(one["pieces"])
    for i, effect in enumerate(one["loss_effect"]):
        names = (tokens.nth(i).get_attribute("class") or "").split()
        assert ("helps" in names, "hurts" in names) == (bool(effect and effect > 0), bool(effect and effect < 0))
        if effect:
            assert f"--l:{abs(effect) / strongest:.2f}" in tokens.nth(i).get_attribute("style")
            tokens.nth(i).click()
            said = f"{effect:+.3f} nats".replace("-", "−")
            assert f"Δ loss {said}" in " ".join(texts(page, ".readout")).replace("\n", " ")
    assert page.locator(".tk.helps").count() and page.locator(".tk.hurts").count()
    assert css(page, ".tk.helps", "borderBottomStyle") == "solid"
    assert css(page, ".tk.hurts", "borderBottomStyle") == "dotted"
    silent = next(i for i, effect in enumerate(one["loss_effect"]) if effect is None)
    tokens.nth(silent).click()
    assert "Δ loss –" in " ".join(texts(page, ".readout")).replace("\n", " ")


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_has_its_definition(opened, panel) -> None:
    page = opened()
    title, text, code = PANELS[panel]
    page.get_by_role("button", name=f"what is {title}?", exact=True).first.click()
    (said,) = texts(page, ".popover")
    assert text in said and code.replace("{latent}", "12") in said


def test_definitions_open_in_place_and_close_by_the_same_key(opened) -> None:
    page = opened()
    ask = page.get_by_role("button", name="what is Neighbours?")
    ask.click()
    assert "store.neighbours(12)" in texts(page, ".popover")[0] and ask.get_attribute("aria-expanded") == "true"
    box, frame = page.locator(".popover").bounding_box(), page.locator(".browser").bounding_box()
    assert box["x"] >= frame["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]
    assert box["y"] >= frame["y"] and box["y"] + box["height"] <= frame["y"] + frame["height"]
    ask.click()
    assert page.locator(".popover").is_hidden()
    ask.click()
    page.store.set_label(12, label="another")
    page.locator(".browser").dispatch_event("pointerenter")
    page.locator("#f12 .name", has_text="another").wait_for()  # with which the panels are drawn anew
    assert page.locator(".popover").is_visible()
    ask.click()
    assert page.locator(".popover").is_hidden()
    page.get_by_role("button", name="copy the Python call").click()
    assert "sk.FeatureBrowser(store, model=model, feature=12)" in texts(page, ".popover")[0]


# -- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [".label", ".note"])
def test_looking_at_a_field_overwrites_nothing(opened, field) -> None:
    page = opened()
    page.locator(field).focus()
    page.store.set_label(12, **{field[1:]: "renamed elsewhere"})
    page.locator(".browser").dispatch_event("pointerenter")
    until(page, "sent.filter(one => one.kind === 'labels').length > 1 && busy === 0")
    assert page.locator(field).input_value() != "renamed elsewhere"  # nothing changes under the cursor
    page.locator(".item:not(.chosen)").first.click()
    until(page, "model.get('feature') !== 12")
    assert python(page)._store.labels[12][field[1:]] == "renamed elsewhere"
    assert page.evaluate("sent.some(one => one.kind === 'label')") is False


def test_a_field_that_is_left_shows_what_was_stored_meanwhile(opened) -> None:
    page = opened()
    page.locator(".label").focus()
    page.store.set_label(12, label="renamed elsewhere")
    page.locator(".browser").dispatch_event("pointerenter")
    page.locator("#f12 .name", has_text="renamed elsewhere").wait_for()
    page.keyboard.press("Escape")
    assert page.locator(".label").input_value() == "renamed elsewhere"


def test_text_that_a_field_cannot_hold_stays_as_it_is(opened) -> None:
    page = opened(feature=LINES)
    before = dict(page.store.labels[LINES])
    assert before["label"] == "a\nb" and before["note"] == "x\r\ny"
    for field in (".label", ".note"):
        page.locator(field).focus()
    page.locator(".item:not(.chosen)").first.click()
    until(page, f"model.get('feature') !== {LINES}")
    assert python(page)._store.labels[LINES] == before
    assert page.evaluate("sent.some(one => one.kind === 'label')") is False


def test_labels_and_notes_are_stored_and_shown(opened) -> None:
    page = opened()
    page.locator(".label").fill("mine <b>")
    page.locator(".label").press("Enter")
    until(page, "first.el.firstChild.shadowRoot.querySelector('#f12 .name').textContent === 'mine <b>'")
    page.locator(".saved", has_text="yours, saved 2026-01-02").wait_for()
    assert python(page)._store.labels[12]["label"] == "mine <b>"
    page.locator(".note").fill("compare 33")
    page.locator(".item:not(.chosen)").first.click()  # leaving saves
    until(page, "sent.filter(one => one.kind === 'label').length === 2")
    assert python(page)._store.labels[12]["note"] == "compare 33"
    page.widget.feature = 12
    page.push()
    page.locator(".label").fill("refuse")
    page.locator(".label").press("Enter")
    page.locator(".line.failed", has_text="the disk is full").wait_for()
    assert page.locator(".label").input_value() == "mine <b>"


@pytest.mark.parametrize("width", [1280, 1000])
def test_a_note_has_lines_and_ends_only_where_its_writer_says(opened, width) -> None:
    page = opened(width=width)
    page.locator(".examples .caption").click()
    page.keyboard.press("n")
    assert "Enter: a new line" in page.locator(".note").get_attribute("placeholder")
    page.keyboard.type("jt")
    page.keyboard.press("Enter")
    page.keyboard.type("kssj 1")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("end")
    assert focus(page) == "note on the feature"
    assert python(page).feature == 12 and page.widget.starred == [NASTY]  # nothing of it was a command
    page.keyboard.press("Control+Enter")
    until(page, "sent.filter(one => one.kind === 'label').length === 1")
    assert python(page)._store.labels[12]["note"] == "jt\nkssj 1\nend" == page.locator(".note").input_value()
    assert focus(page) == "feature browser"
    page.keyboard.press("n")
    page.keyboard.press("End")
    page.keyboard.type(", kept")
    page.keyboard.press("Escape")  # leaves it, as it leaves search and prompt: too much would be lost
    until(page, "sent.filter(one => one.kind === 'label').length === 2")
    assert "kept" in python(page)._store.labels[12]["note"] and focus(page) == "feature browser"
    page.keyboard.press("n")
    page.keyboard.type("left")
    page.locator(".item:not(.chosen)").first.click()
    until(page, "sent.filter(one => one.kind === 'label').length === 3")
    assert "left" in python(page)._store.labels[12]["note"]


def test_a_prompt_that_is_being_typed_while_the_kernel_goes_keeps_its_keys(opened) -> None:
    page = opened()
    page.clock.install()
    page.evaluate("away = true")
    page.evaluate("model.set('feature', 33)")
    page.locator(".prompt input").focus()
    page.clock.run_for(9000)
    page.keyboard.type("dd")
    assert page.locator(".line.lost").is_visible() and page.locator(".prompt input").input_value() == "dd"
    page.evaluate("away = false")
    page.get_by_role("button", name="Try again").click()
    until(page, "first.el.firstChild.shadowRoot.querySelector('.line.lost').hidden")


def test_stars_from_python_and_labels_of_another_notebook_arrive(opened) -> None:
    page = opened()
    page.widget.starred = [12]
    page.push()
    assert page.locator(".header [aria-pressed]").first.get_attribute("aria-pressed") == "true"
    page.store.set_label(33, label="written elsewhere")
    page.widget.feature = 33
    page.push()
    until(page, "first.el.firstChild.shadowRoot.querySelector('.label').value === 'written elsewhere'")


def test_without_a_kernel_edits_are_kept_and_sent_later(opened) -> None:
    page = opened()
    page.clock.install()
    page.evaluate("away = true")
    page.locator(".label").fill("kept")
    page.locator(".label").press("Enter")
    page.clock.run_for(9000)
    assert "1 edit is kept until it answers" in texts(page, ".line.lost")[0] and texts(page, ".saved") == [
        "not saved yet"
    ]
    page.locator("#f12").wait_for()
    assert page.locator(".example").count() == 14  # what is loaded stays
    page.evaluate("away = false")
    page.get_by_role("button", name="Try again").click()
    until(page, "first.el.firstChild.shadowRoot.querySelector('.line.lost').hidden")
    page.clock.run_for(1000)
    until(page, "sent.filter(one => one.kind === 'label').length === 2")
    assert python(page)._store.labels[12]["label"] == "kept"


def edit_in_vain(page: Any, text: str) -> None:
    """A label that no kernel hears of, and the page is reloaded as on the next day."""
    page.evaluate("away = true")
    page.locator(".label").fill(text)
    page.locator(".label").press("Enter")
    until(page, "sent.some(one => one.kind === 'label')")


def test_an_edit_that_was_never_stored_goes_to_the_next_view_of_the_store(opened) -> None:
    page = opened()
    edit_in_vain(page, "written too late")
    page.locator(".header [aria-pressed]").first.click()
    page.reload()
    drawn(page, 12)
    assert page.locator(".label").input_value() == "written too late"
    until(page, "sent.filter(one => one.kind === 'label').length === 1")
    label = python(page)._store.labels[12]
    assert (label["label"], label["star"]) == ("written too late", True)
    until(page, "localStorage.length === 0")
    page.reload()
    drawn(page, 12)
    assert not page.evaluate("sent.some(one => one.kind === 'label')")  # once


def test_an_edit_goes_to_no_other_store_and_over_nothing_newer(opened) -> None:
    page = opened()
    edit_in_vain(page, "for this store")
    page.widget._listing["store"] = "another"
    page.reload()
    drawn(page, 12)
    page.wait_for_timeout(300)
    assert not page.evaluate("sent.some(one => one.kind === 'label')")
    assert python(page)._store.labels[12]["label"] == "a name is introduced"
    page.widget._listing["store"] = "fake stores/first"
    page.store.labels[12] = {"label": "named since", "star": False, "note": "", "saved": "2999-01-02T15:04:05"}
    page.store.log.append(12)
    page.reload()
    drawn(page, 12)
    assert 'Feature 12 was changed since: "for this store" was not stored.' in texts(page, ".line.failed")[0]
    assert page.locator(".label").input_value() == "named since"
    until(page, "localStorage.length === 0")


def test_what_lies_in_the_storage_is_looked_at_first(opened) -> None:
    page = opened()
    wrong = [[4000, {"label": "x"}, 1], [13, {"label": 7, "else": "y"}, 1], ["13", {"star": True}, 1], [14, None, 1], 3]
    for text in (json.dumps([*wrong, [13, {"note": "<b>good</b>"}, 1e13]]), "{not JSON", '{"a": 1}'):
        page.evaluate("text => localStorage.setItem('saekit.edits.fake stores/first', text)", text)
        page.reload()
        drawn(page, 12)
    assert python(page)._store.labels[13]["note"] == "<b>good</b>"


def test_a_kernel_that_ends_is_said_at_once(opened) -> None:
    page = opened()
    page.evaluate("""() => {
        const signal = () => {
            const heard = new Set();
            return {connect: (call) => heard.add(call), disconnect: (call) => heard.delete(call),
                    tell: (status) => heard.forEach((call) => call({}, status)), heard};
        };
        window.kernelOf = {statusChanged: signal(), connectionStatusChanged: signal()};
        first.end();
        model.widget_manager = {kernel: kernelOf};
        window.second = view();
    }""")
    drawn(page, 12)
    dot = page.locator(".bar .dot")
    page.evaluate("kernelOf.statusChanged.tell('busy')")
    assert dot.get_attribute("aria-label") == "ready"
    page.wait_for_timeout(500)  # an answer still under way would say that the kernel lives
    page.evaluate("away = true, kernelOf.connectionStatusChanged.tell('disconnected')")
    assert dot.get_attribute("aria-label") == "the kernel does not answer"
    page.evaluate("away = false, kernelOf.connectionStatusChanged.tell('connected')")
    page.locator(".line.lost").wait_for(state="hidden")
    page.evaluate("away = true, kernelOf.statusChanged.tell('restarting')")
    assert dot.get_attribute("aria-label") == "the kernel is gone"
    assert page.get_by_role("button", name="Try again").count() == 0
    page.locator(".label").fill("too late")
    page.locator(".label").press("Enter")
    assert "run this cell again to go on. 1 edit is kept, and stored by the next" in texts(page, ".line.lost")[0]
    page.evaluate("away = false, window.third = view()")  # the cell, run again
    lost = page.locator(".line.lost:visible")
    lost.filter(has_not_text="1 edit").wait_for()
    assert python(page)._store.labels[12]["label"] == "too late"
    page.evaluate("second.end(), third.end()")
    assert page.evaluate("kernelOf.statusChanged.heard.size + kernelOf.connectionStatusChanged.heard.size") == 0


def test_two_views_and_cleanup(opened) -> None:
    page = opened()
    before = page.evaluate("fromPython.listeners()")
    page.evaluate("window.second = view()")
    page.wait_for_function("second.el.firstChild.shadowRoot.querySelector('.neighbours')")
    page.locator(".label").first.fill("seen by both")
    page.locator(".label").first.press("Enter")
    page.wait_for_function("second.el.firstChild.shadowRoot.querySelector('.label').value === 'seen by both'")
    page.evaluate("second.end()")
    assert page.evaluate("fromPython.listeners()") == before and page.evaluate("second.el.childElementCount") == 0


# -- prompt -----------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_a_score_sheet(opened) -> None:
    page = opened()
    field = page.get_by_label("your prompt", exact=True).locator("input")
    field.fill("one two↵ three")
    field.press("Enter")
    page.locator(".sheet tbody tr").first.wait_for()
    assert page.evaluate("sent.find(one => one.kind === 'prompt').text") == "one two\n three"
    assert texts(page, ".sheet thead button")[0] == "<s>" and "4 tokens, 38 ms" in texts(page, ".said")
    assert texts(page, ".sheet tbody .link")[0] == "12"  # the chosen feature first
    cells = page.locator(".sheet tbody tr").first.locator("td")
    assert cells.nth(1).inner_text() == f"{0.9 * page.store.maximum[12]:.1f}"
    page.locator(".sheet thead button").nth(2).click()
    assert texts(page, ".sheet tbody .link")[:2] == ["12", "3"]  # by that token now
    page.locator(".sheet tbody .link").nth(1).click()
    drawn(page, 3)
    assert texts(page, ".sheet tbody .link")[0] == "3"
    field.fill("fail")
    field.press("Enter")
    page.locator(".prompt .failed", has_text="out of memory").wait_for()


def test_a_prompt_runs_while_it_is_typed(opened) -> None:
    page = opened()
    field = page.get_by_label("your prompt", exact=True).locator("input")
    field.press_sequentially("one two", delay=20)
    page.locator(".sheet tbody tr").first.wait_for()
    assert page.evaluate("sent.filter(one => one.kind === 'prompt').map(one => one.text)") == ["one two"]
    field.press_sequentially(" three", delay=20)
    page.locator(".sheet thead button", has_text="three").wait_for()
    field.fill("")
    page.locator(".sheet").wait_for(state="hidden")


@pytest.mark.parametrize("width", [1280, 600])
def test_a_cut_prompt_says_so(opened, width) -> None:
    page = opened(width=width)
    field = page.get_by_label("your prompt", exact=True).locator("input")
    field.fill(" ".join(["word"] * (CONTEXT + 2)))
    field.press("Enter")
    page.locator(".said:visible", has_text="3 tokens too many, cut").wait_for()
    box, row = page.locator(".said").bounding_box(), page.locator(".prompt").bounding_box()
    assert box["width"] > 100 and box["x"] + box["width"] <= row["x"] + row["width"]
    assert page.locator(".sheet thead button").count() == CONTEXT


@pytest.mark.parametrize("width", [1280, 600])
def test_the_sheet_is_sorted_by_density_or_effect(opened, width) -> None:
    page = opened(width=width)
    store = page.store
    field = page.get_by_label("your prompt", exact=True).locator("input")
    field.fill("one two three four")
    field.press("Enter")
    page.locator(".sheet tbody tr").first.wait_for()
    others = [3, 20, SIGNED, NASTY]
    page.get_by_label("sheet sorted by").select_option("density")
    rarest = sorted(others, key=lambda latent: store.density[latent])
    assert texts(page, ".sheet tbody .link") == [str(latent) for latent in [12, *rarest]]
    page.get_by_label("sheet sorted by").select_option("loss_effect")
    assert page.get_by_label("sheet sorted by").bounding_box()["width"] > 80  # wide enough to be read
    helps = sorted(others, key=lambda latent: -np.nan_to_num(store.effect[latent], nan=-np.inf))
    assert texts(page, ".sheet tbody .link") == [str(latent) for latent in [12, *helps]]


@pytest.mark.parametrize("width", [1280, 1000, 600])
def test_the_sheet_stays_open_with_the_focus_where_it_was(opened, width) -> None:
    page = opened(width=width)
    field = page.get_by_label("your prompt", exact=True).locator("input")
    field.fill("one two three four")
    field.press("Enter")
    page.locator(".sheet tbody tr").first.wait_for()
    high = page.locator(".sheet").bounding_box()["height"]
    page.get_by_label("open feature 20", exact=True).click()
    drawn(page, 20)
    until(page, "busy === 0")
    assert page.locator(".sheet").bounding_box()["height"] == high
    assert focus(page) == "open feature 20" and texts(page, ".sheet tbody .link")[0] == "20"
    page.locator(".sheet tbody tr").nth(2).locator("td").nth(3).click()
    assert page.locator(".sheet").bounding_box()["height"] == high
    page.locator(".sheet thead button", has_text="three").click()
    assert focus(page).startswith('" three": sort by') and page.locator(".sheet").bounding_box()["height"] > 30
    page.keyboard.press("Enter")  # again: by all
    page.get_by_label("sheet sorted by").select_option("density")
    page.get_by_label("sheet sorted by").focus()
    page.get_by_label("sheet sorted by").select_option("max")
    assert focus(page) == "sheet sorted by" and page.locator(".sheet").bounding_box()["height"] == high
    page.locator(".item").nth(1).click()  # and while others are opened
    until(page, "busy === 0")
    assert page.locator(".sheet").bounding_box()["height"] >= high - 18


def test_what_never_fired_in_the_store_has_full_colour(opened) -> None:
    page = opened()
    field = page.get_by_label("your prompt", exact=True).locator("input")
    field.fill("dead words")
    field.press("Enter")
    row = page.locator(".sheet tbody tr", has=page.get_by_label(f"open feature {DEAD}", exact=True))
    assert row.locator("td.plus").first.get_attribute("style") == "--a:1.00"


def test_without_a_kernel_there_is_no_prompt(opened) -> None:
    page = opened()
    field = page.get_by_label("your prompt", exact=True).locator("input")
    page.clock.install()
    page.evaluate("away = true")
    page.widget.feature = 33
    page.evaluate("model.set('feature', 33)")
    page.clock.run_for(9000)
    assert page.locator(".line.lost").is_visible() and field.is_disabled()
    page.evaluate("away = false")
    page.get_by_role("button", name="Try again").click()
    until(page, "first.el.firstChild.shadowRoot.querySelector('.line.lost').hidden")
    assert field.is_enabled()


def test_without_a_model_the_prompt_says_why(opened) -> None:
    page = opened(model=None)
    field = page.get_by_label("your prompt", exact=True).locator("input")
    assert field.is_disabled() and "pass model=" in field.get_attribute("placeholder")


# -- looks ------------------------------------------------------------------------------------------------------------


WIDTHS = {
    1456: (320, True),
    1280: (320, True),
    1116: (316, True),
    1060: (302, True),
    920: (300, False),
    736: (200, False),
    600: (168, False),
}


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_at_any_width(opened, width) -> None:
    page = opened(width=width)
    for name in ("Histogram", "Neighbours", "Logits"):
        if width < 1280:
            page.get_by_role("tab", name=name).click()
        wide = page.locator(
            ".left, .about, .tabs, .tabs .list, .bar, .title, .prompt, .rows, .switches, .count, .panels, .panel, .head"
        ).evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.className)")
        assert wide == []
    assert page.locator(".browser").bounding_box()["height"] == 680 + 8 + 2  # its edge, and its border
    list_width, beside = WIDTHS[width]
    assert round(page.locator(".left").bounding_box()["width"]) == list_width
    assert page.locator(".item .name").first.bounding_box()["width"] > 110  # px for a label
    assert page.locator(".item").first.bounding_box()["height"] == (38 if width < 860 else 24)
    assert page.get_by_title("all of each example").is_visible()
    assert beside == (page.locator(".side").bounding_box()["x"] > page.locator(".examples").bounding_box()["x"] + 100)


def overprinted(page: Any, selector: str) -> list[str]:
    """Texts of which the boxes lie on each other's."""
    return page.locator(selector).evaluate_all(
        """all => {
          const boxes = all.map(one => [one.textContent, one.getBoundingClientRect()]).filter(([, box]) => box.width);
          return boxes.flatMap(([text, a], i) => boxes.slice(i + 1).filter(([, b]) =>
            a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1
          ).map(([other]) => `${text} | ${other}`));
        }"""
    )


@pytest.mark.parametrize("width", [1116, 736, 600])
def test_in_a_laptops_window_each_panel_has_room_and_none_prints_over_another(opened, monkeypatch, width) -> None:
    plain = FakeStore.view
    said = {"text": "a name " * 30, "author": "a judge of many words", "detection": 0.81, "fuzzing": 0.79}

    def view(store: FakeStore, latent: int) -> Any:
        known = plain(store, latent)
        ten = {side: [[f" word{i}", (i + 1) / 3] for i in range(10)] for side in ("top", "bottom")}
        return {**known, "explanations": [*known["explanations"], said], "logits": {**known["logits"], **ten}}

    monkeypatch.setattr(FakeStore, "view", view)
    page = opened(width=width)
    tabs = page.get_by_role("tablist", name="histogram, logits, neighbours")
    assert tabs.get_by_role("tab", selected=True).inner_text() == "Logits"
    rows = page.locator(".logits tr").evaluate_all("all => all.map(one => one.getBoundingClientRect().bottom)")
    bottom = page.locator(".panels").evaluate("one => one.getBoundingClientRect().bottom")
    assert sum(row <= bottom for row in rows) >= (20 if width == 1116 else 12)
    assert overprinted(page, ".logits td:last-child, .logits .piece, .head .small") == []
    tabs.get_by_role("tab", name="Logits").press("ArrowRight")
    assert page.locator(".neighbours tbody tr:visible").count() == 7 and page.locator(".logits").is_hidden()
    assert overprinted(page, ".neighbours td, .neighbours th") == []
    page.keyboard.press("ArrowRight")  # round to the first
    assert page.locator(".bars").is_visible() and page.locator(".neighbours").is_hidden()
    page.locator(".item:not(.chosen)").first.click()
    until(page, "model.get('feature') !== 12 && busy === 0")
    assert page.locator(".bars").is_visible()  # the tab stays


def test_note_and_explanations_are_folded_where_room_is_short(opened) -> None:
    page = opened(width=1116)
    assert page.locator(".note").is_hidden() and page.locator(".explanations").is_hidden()
    fold = page.get_by_role("button", name="1 explanation")
    assert "names of <b>people</b>" in fold.inner_text()
    fold.click()
    assert page.locator(".explanations").is_visible() and fold.get_attribute("aria-expanded") == "true"
    assert overprinted(page, ".explanations span, .explanations .question, .numbers div, .folds") == []
    page.locator(".examples .caption").click()
    page.keyboard.press("n")
    page.keyboard.type("seen at last")
    page.keyboard.press("Escape")
    assert page.locator(".note").is_visible()  # opened stays open, while the view lives
    page.widget.feature = 14
    page.push()
    drawn(page, 14)
    assert page.locator(".note").is_visible() and page.locator(".explanations").is_visible()
    assert page.locator(".note").input_value() == ""
    page.get_by_role("button", name="Note").click()
    page.widget.feature = 12
    page.push()
    drawn(page, 12)
    assert page.locator(".note").is_hidden() and "seen at last" in page.get_by_role("button", name="Note").inner_text()
    wide = opened(width=1280)
    assert wide.locator(".note").is_visible() and wide.locator(".fold:visible").count() == 0


def test_it_is_as_high_as_its_reader_wants(opened) -> None:
    page = opened(height=500)
    grid, edge = page.locator(".grid"), page.get_by_role("separator", name="height of the browser")
    assert grid.bounding_box()["height"] == 500 and edge.get_attribute("aria-valuenow") == "500"
    edge.focus()
    page.keyboard.press("ArrowDown")
    assert python(page).height == 520 and grid.bounding_box()["height"] == 520
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")
    assert python(page).height == 320 == grid.bounding_box()["height"]  # the least
    box = edge.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + 210, box["y"] + 84)
    page.mouse.move(box["x"] + 220, box["y"] + 154)
    assert grid.bounding_box()["height"] == 470 and page.widget.height == 320  # Python hears of where it ends
    page.mouse.up()
    page.mouse.move(10, 10)
    assert python(page).height == 470 == grid.bounding_box()["height"]
    page.widget.height = 800
    page.push()
    assert grid.bounding_box()["height"] == 800
    page.get_by_role("button", name="copy the Python call").click()
    assert "height=800" in texts(page, ".popover")[0]
    again = page.evaluate("view().el.firstChild.shadowRoot.querySelector('.grid').getBoundingClientRect().height")
    assert again == 800  # a new view


def test_it_fills_the_page_that_says_so(host) -> None:
    page = host("feature_browser", {"feature": 0, "filter": {}, "sort": ["max", True], "tab": "top", "fill": True})
    for height in (500, 800):
        page.evaluate("height => { first.el.style.height = height + 'px' }", height)
        assert page.locator(".browser").bounding_box()["height"] == height
        assert page.locator(".grid").bounding_box()["height"] == height - 2  # within the border


def test_ranges_are_within_reach_at_600_px(opened) -> None:
    page = opened(width=600)
    assert page.locator(".range:visible").count() == 0
    page.get_by_role("button", name="More").click()
    assert page.locator(".range:visible").count() == 4
    field = page.get_by_label("max at least, number")
    field.fill("9")
    field.press("Enter")
    assert python(page).filter == {"max": [9, None]} and page.locator(".item").count() > 0
    assert page.locator(".left").evaluate("one => one.scrollWidth <= one.clientWidth + 1")
    page.get_by_role("button", name="More").click()
    assert page.locator(".range:visible").count() == 0


def test_the_theme_changes_colours_and_keeps_contrast(opened) -> None:
    page = opened()
    light = css(page, ".peak", "backgroundColor")
    page.evaluate("document.body.style.cssText = '--jp-layout-color1:#212121;--jp-ui-font-color0:#fff'")
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    until(page, "first.el.firstChild.shadowRoot.querySelector('.browser').hasAttribute('data-dark')")
    assert css(page, ".peak", "backgroundColor") != light


def test_before_any_answer_there_is_a_frame(host) -> None:
    page = host("feature_browser", {"feature": 0, "filter": {}, "sort": ["max", True], "tab": "top"})
    assert page.locator(".browser").bounding_box()["height"] > 600 and page.locator(".bone").count() == 14
    assert page.locator("[role=status]", has_text="Reading the list").count() == 1


def test_an_error_of_the_browser_is_drawn_and_told_to_python(host) -> None:
    page = host(
        "feature_browser", {"feature": 0, "filter": {}, "sort": ["max", True], "tab": "top", "starred": [], "error": ""}
    )
    assert [one["kind"] for one in page.evaluate("sent")] == ["listing"]
    page.evaluate("fromPython.message({kind: 'listing', id: sent[0].id, columns: [{name: 'density'}], d_sae: 3}, [1])")
    page.locator("[role=alert]", has_text="density has 2 entries for 3 latents").wait_for()


# -- speed: budgets are 100 ms to a first paint, 1 s to a list, 100 ms a click, 50 ms a filter; thrice is allowed ------


@pytest.mark.timing
def test_131_072_latents_are_listed_opened_filtered_and_scrolled_fast(opened) -> None:
    page = opened(size=131_072, wait=False)
    page.wait_for_function("first.el.firstChild.shadowRoot.querySelector('.item')", polling="raf")
    listed = page.evaluate("performance.now() - arrived")
    drawn(page, 12)
    painted = page.evaluate("painted - began")
    root = "first.el.firstChild.shadowRoot"
    page.wait_for_timeout(1500)  # the search index is made when nothing else is to do
    clicks = page.evaluate(
        f"""async () => {{
          const out = [], latents = [...{root}.querySelectorAll('.item .index')].slice(0, 3).map(one => one.innerText);
          for (const latent of [...latents, ...latents]) {{
            const row = {root}.querySelector('#f' + latent), began = performance.now();
            if (row) row.click(); else model.set('feature', Number(latent));
            while ({root}.querySelector('.title .number').innerText !== latent || !{root}.querySelector('.neighbours'))
              await new Promise(done => setTimeout(done));
            {root}.querySelector('.rows').getBoundingClientRect(); // and laid out; frames wait for a busy machine
            out.push(performance.now() - began);
            await new Promise(done => setTimeout(done, 200));
          }}
          return out;
        }}"""
    )
    click, kept = min(clicks[:3]), min(clicks[3:])
    *filters, scroll = page.evaluate(
        f"""async () => {{
          const out = [], frame = () => new Promise(requestAnimationFrame);
          const density = [0.001, 0.01];
          for (const filter of [{{max: [5, null]}}, {{search: 'борис'}}, {{density, search: 'борис g'}}, {{}}]) {{
            const began = performance.now();
            model.set('filter', filter);
            out.push(performance.now() - began);
            await frame();
          }}
          const sight = {root}.querySelector('.sight'), scrolled = performance.now();
          for (let i = 0; i < 40; i++) {{ sight.scrollTop += 40000; await frame(); }}
          return [...out, (performance.now() - scrolled) / 40];
        }}"""
    )
    print(
        f"\n131,072 latents: painted after {painted:.0f} ms, listed {listed:.0f} ms after the answer, "
        f"a click {click:.0f} ms with Python's answer, {kept:.0f} ms where it is kept, "
        f"filters {[round(t) for t in filters]} ms, a frame of scrolling {scroll:.1f} ms"
    )
    assert painted < 3 * 100 and listed < 3 * 1000 and click < 3 * 100 and kept < 3 * 100
    assert max(filters) < 3 * 50 and scroll < 3 * 17
    assert page.locator(".item").count() < 60  # only rows in sight exist


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def file_page(browser: Any, tmp_path: Any) -> Any:
    """file_page(widget): its exported file, opened; nothing but the file may be asked for."""
    pages = []

    def open_file(widget: FeatureBrowser, features: Any = None, **more: Any) -> Any:
        path = widget.export_html(tmp_path / "features.html", features=features)
        page = browser.new_page(viewport={"width": 1280, "height": 600}, **more)
        page.outside, page.problems = [], []
        page.on("request", lambda r: None if r.url.startswith(("blob:", path.as_uri())) else page.outside.append(r.url))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        pages.append(page)
        page.goto(path.as_uri())
        page.wait_for_function("window.ready")
        return page

    yield open_file
    for page in pages:
        assert page.outside == [] and page.problems == []
        page.close()


def test_the_exported_file_opens_offline(file_page) -> None:
    store = FakeStore()
    widget = FeatureBrowser(store, feature=12)
    first = [latent for latent in widget._store.matching({}, None)[:50] if latent not in (12, NASTY)]
    page = file_page(widget)
    drawn(page, 12)
    assert page.locator(".example").count() == 14
    count = len({12, NASTY, *first})
    assert texts(page, ".count [role=status]") == [f"{count} of {count}"]
    assert f"{count} of 400 features" in texts(page, "div.bar")[0]
    assert page.locator(".label").is_disabled() and page.get_by_label("save as one HTML file").is_disabled()
    assert "open the browser in a notebook" in page.locator(".prompt input").get_attribute("placeholder")
    page.locator(".item").first.click()
    page.locator(".example, .body .big").first.wait_for()
    page.locator(".search input").fill(str(NASTY))
    page.locator(".search input").press("Enter")
    drawn(page, NASTY)
    assert page.locator(".example").count() == 14  # starred, so in the file


def test_the_exported_file_fills_the_window_and_has_the_keys_from_the_first_on(file_page) -> None:
    page = file_page(FeatureBrowser(FakeStore(), sort=["latent", False], feature=0))
    drawn(page, 0)
    page.keyboard.press("j")
    drawn(page, 1)
    page.keyboard.press("j")
    drawn(page, 2)
    page.locator("body").click(position={"x": 2, "y": 2})  # beside it
    page.keyboard.press("k")
    drawn(page, 1)
    for height in (500, 900):
        page.set_viewport_size({"width": 1280, "height": height})
        until(page, f"Math.abs(document.querySelector('main').firstChild.offsetHeight - {height - 16}) < 2")
        assert page.evaluate("document.documentElement.scrollHeight - innerHeight") == 0


def test_nothing_leads_out_of_the_exported_file(file_page) -> None:
    store = FakeStore()
    near = [row["latent"] for row in store.view(12)["neighbours"]]
    page = file_page(FeatureBrowser(store, feature=12), features=[12, near[0]])
    drawn(page, 12)
    links = [int(text) for text in texts(page, ".neighbours tbody button.link")]
    assert links == [latent for latent in near if latent == near[0]]
    assert page.locator(".neighbours tbody tr").count() == len(near)
    assert page.locator(".neighbours [title='not in this file']").count() == len(near) - 1
    page.locator(".search input").fill("399")
    page.locator(".search input").press("Enter")
    page.locator(".line.failed", has_text="Feature 399 is not in this file, which has 2.").wait_for()
    drawn(page, 12)


def test_a_note_keeps_its_lines_in_the_exported_file(file_page) -> None:
    store = FakeStore()
    store.set_label(12, note="first\nsecond\n\nlast")
    page = file_page(FeatureBrowser(store, feature=12))
    drawn(page, 12)
    assert page.locator(".note").input_value() == "first\nsecond\n\nlast"


def test_the_exported_file_follows_the_dark_scheme(file_page) -> None:
    page = file_page(FeatureBrowser(FakeStore(), feature=12), color_scheme="dark")
    drawn(page, 12)
    assert page.evaluate(
        "document.querySelector('main > div').shadowRoot.querySelector('.sk').hasAttribute('data-dark')"
    )


def test_a_link_to_a_feature_of_the_file(file_page, tmp_path) -> None:
    """The address says which feature is open; with another number the file opens at that one, if it holds it."""
    page = file_page(FeatureBrowser(FakeStore(), feature=12), features=[12, 13])
    drawn(page, 12)
    page.keyboard.press("j")
    drawn(page, 13)
    assert page.url.endswith("features.html#13")
    page.get_by_label("copy a link to this feature").click()
    assert texts(page, ".popover code") == [page.url]
    for address, latent in ((f"{page.url[:-2]}12", 12), (f"{page.url[:-2]}399", 12), (f"{page.url[:-2]}13", 13)):
        page.evaluate(f"location.href = {address!r}")
        drawn(page, latent)
    page.goto("about:blank")
    page.goto(f"{(tmp_path / 'features.html').as_uri()}#13")
    page.wait_for_function("window.ready")
    drawn(page, 13)
    assert (tmp_path / "features.html").stat().st_size < 80_000
