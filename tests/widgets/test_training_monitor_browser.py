"""The TrainingMonitor bundle on an offline page in Chromium: drawing, views, cleanup, errors, keyboard, theme."""

from __future__ import annotations

STATE = {
    "tokens": 0,
    "total_tokens": 2_000_000,
    "seconds": 0.0,
    "tokens_per_second": 0.0,
    "metrics": {},
    "finished": False,
    "stopped": "",
    "seconds_left": -1.0,
    "error": "",
}
ROWS = [100_000, 0.5, None, 400_000, 0.3, 0.6, 1_000_000, 0.25, None, 1_200_000, 0.2, 0.8]
NOW = {
    "tokens": 1_200_000,
    "seconds": 50.0,
    "tokens_per_second": 24_000.0,
    "metrics": {"loss": 0.2, "explained_variance": 0.8, "l0": 16, "dead": 12, "<img src=x>": 1},
}


def running(host, **more):
    page = host("training_monitor", STATE, **more)
    page.evaluate("now => fromPython.traits(now)", NOW)
    page.evaluate("rows => fromPython.message({kind: 'history'}, rows)", ROWS)
    page.wait_for_function("first.el.firstChild.shadowRoot.querySelectorAll('path.line').length === 2")
    return page


def inside(page, selector: str, expression: str, view: str = "first"):
    found = f"[...{view}.el.firstChild.shadowRoot.querySelectorAll({selector!r})]"
    return page.evaluate(f"() => {{ const all = {found}; return {expression} }}")


def test_before_the_first_numbers_it_asks_and_shows_no_empty_axes(host) -> None:
    page = host("training_monitor", STATE)
    assert page.evaluate("sent.map(one => one.kind)") == ["history"]
    assert inside(page, ".panel", "all.every(one => one.hidden)")


def test_progress_rate_time_left_and_numbers(host) -> None:
    page = running(host)
    assert inside(page, ".bar", "all[0].innerText.replaceAll('\\n', ' ')").startswith(
        "Training 1,200,000 of 2,000,000 tokens · 24k tokens/s · 0:33 left"
    )
    bar = "[role=progressbar]"
    assert inside(page, bar, "[all[0].getAttribute('aria-valuenow'), all[0].firstChild.style.width]") == ["60", "60%"]
    numbers = inside(page, ".numbers div", "all.map(one => one.innerText.replace('\\n', ' '))")
    assert numbers == ["L0 16", "dead 12", "<img src=x> 1"]  # names are text, never markup
    page.evaluate("fromPython.traits({waited: 0.123})")
    assert " · 24k tokens/s · waiting 12 % · 0:33 left" in inside(
        page, ".bar", "all[0].innerText.replaceAll('\\n', ' ')"
    )
    page.evaluate("fromPython.traits({latents: 1024})")
    assert inside(page, ".numbers dd", "all[1].innerText") == "12 of 1,024 (1.2 %)"
    assert inside(page, ".panel h3 b", "all.map(one => one.textContent)") == ["0.2", "0.8"]


def test_curves_lie_where_the_numbers_say(host) -> None:
    page = running(host)
    paths = inside(page, "path.line", "all.map(one => one.getAttribute('d'))")
    assert [path.count("L") for path in paths] == [3, 1]  # four losses, two explained variances, gaps bridged
    width, height = inside(page, "svg", "[all[0].clientWidth, all[0].clientHeight]")
    points = [tuple(map(float, p.split())) for p in paths[0].removeprefix("M").split("L")]
    for (x, y), (tokens, loss) in zip(points, [(1e5, 0.5), (4e5, 0.3), (1e6, 0.25), (1.2e6, 0.2)], strict=True):
        assert abs(x - (40 + tokens / 2e6 * (width - 50))) < 0.1
        assert abs(y - (8 + (0.5 - loss) / 0.3 * (height - 28))) < 0.1


def test_a_second_view_asks_for_itself_and_late_answers_are_dropped(host) -> None:
    page = running(host)
    page.evaluate("window.second = view()")
    mine, theirs = page.evaluate("sent.map(one => one.id)")
    answer = "([id, rows]) => fromPython.message({kind: 'history', id}, rows)"
    page.evaluate(answer, [theirs, ROWS])
    page.wait_for_function("second.el.firstChild.shadowRoot.querySelectorAll('path.line').length === 2")
    page.evaluate(answer, [mine + theirs + 1, []])  # nobody's question
    assert inside(page, "path.line", "all.length", view="second") == 2


def test_cleanup_leaves_nothing_behind(host) -> None:
    page = running(host)
    before = page.evaluate("fromPython.listeners()")
    page.evaluate("window.second = view()")
    page.evaluate("second.end()")
    assert page.evaluate("[fromPython.listeners(), second.el.childNodes.length]") == [before, 0]
    assert page.evaluate("document.head.querySelectorAll('style').length") == 0


def test_errors_are_drawn_and_told(host) -> None:
    page = running(host)
    page.evaluate("fromPython.message({kind: 'history'}, [1, 2])")
    assert "2 values do not make rows of 3" in inside(page, ".message", "all[0].innerText")
    assert page.evaluate("model.get('error')").startswith("Error: 2 values")
    assert page.evaluate("saved") == 1


def test_pointer_and_keyboard_read_out_points(host) -> None:
    page = running(host)
    svg = page.locator(".loss svg")
    box = svg.bounding_box()
    page.mouse.move(box["x"] + 40 + 0.22 * (box["width"] - 50), box["y"] + 40)  # 440k tokens: the point at 400k
    assert inside(page, ".loss h3 b", "all[0].textContent") == "0.3"
    assert "400k tokens" in inside(page, ".loss text", "all.map(one => one.textContent)")
    page.mouse.move(1, 1)
    assert inside(page, ".loss h3 b", "all[0].textContent") == "0.2"
    svg.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert inside(page, ".loss h3 b", "all[0].textContent") == "0.3"
    assert svg.get_attribute("aria-label") == "loss: 0.2 after 1.2M tokens"


def test_the_end_is_said_once_in_words(host) -> None:
    page = running(host)
    page.evaluate("fromPython.traits({tokens: 2000000, seconds: 83, finished: true})")
    assert inside(page, ".bar", "all[0].innerText.replaceAll('\\n', ' ')").startswith(
        "Trained 2,000,000 of 2,000,000 tokens"
    )
    assert inside(page, "[aria-live=polite]", "all[0].textContent").startswith("Trained: 2,000,000 of 2,000,000")
    page.evaluate("fromPython.traits({tokens: 1500000})")
    assert inside(page, ".bar b", "all[0].innerText") == "Stopped"


def test_a_stopped_run_says_at_what_count_and_no_time_left(host) -> None:
    page = running(host)
    page.evaluate("fromPython.traits({seconds_left: 75.2})")
    assert "1:15 left" in inside(page, ".bar", "all[0].innerText")
    sentence = "stopped at 1,201,152 of 2,000,000 tokens; the same call goes on"
    page.evaluate("stopped => fromPython.traits({tokens: 1201152, stopped})", sentence)
    assert inside(page, ".bar", "all[0].innerText.replaceAll('\\n', ' ')").startswith(
        "Stopped at 1,201,152 of 2,000,000 tokens; the same call goes on · 24k tokens/s · 0:50"
    )
    assert " left" not in inside(page, ".bar", "all[0].innerText")
    assert inside(page, ".hint", "all[0].hidden")
    assert inside(page, "[aria-live=polite]", "all[0].textContent").startswith("Stopped: at 1,201,152")


def test_narrow_wide_dark_and_still(host) -> None:
    page = running(host, width=420)
    first, second = inside(page, ".panel", "all.map(one => one.getBoundingClientRect().top)")
    assert second > first + 100  # one below the other
    assert inside(page, ".sk", "all[0].scrollWidth <= all[0].clientWidth + 1")
    assert inside(page, ".progress i", "getComputedStyle(all[0]).transitionProperty") in ("none", "all")
    assert inside(page, ".progress i", "getComputedStyle(all[0]).transitionDuration") == "0s"
    page.set_viewport_size({"width": 900, "height": 600})
    page.wait_for_timeout(100)
    first, second = inside(page, ".panel", "all.map(one => one.getBoundingClientRect().top)")
    assert first == second
    light = inside(page, "path.line", "getComputedStyle(all[0]).stroke")
    page.evaluate("document.body.style.cssText = '--jp-layout-color1:#212121;--jp-ui-font-color0:#fff'")
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_timeout(100)
    assert inside(page, "path.line", "getComputedStyle(all[0]).stroke") != light
