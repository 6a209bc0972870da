"""Tokens as a browser draws them: contrast, whole tokens at every width, peaks in one column."""

from __future__ import annotations

import pytest

from saekit.plots import concordance, html_table, tokens_view

DARK = ' data-jp-theme-light="false" style="background:#111;--jp-layout-color0:#111;--jp-content-font-color1:#fff"'
LIGHT = ' data-jp-theme-light="true" style="--jp-layout-color0:#fff;--jp-content-font-color1:rgba(0,0,0,.87)"'
# Colours as the browser mixes and layers them: each is painted on a canvas over its page and read back.
CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const page = getComputedStyle(document.body).backgroundColor;
    const paint = (...colours) => {
        for (const colour of ['#fff', page, ...colours]) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    };
    const light = ([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b;
    return [...document.querySelectorAll('.k, .sign, p, b, td, th')].map(node => {
        let behind = node;
        const clear = () => getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)';
        while (clear() && behind !== document.body) behind = behind.parentElement;
        const back = getComputedStyle(behind).backgroundColor, front = getComputedStyle(node).color;
        const [low, high] = [light(paint(back)), light(paint(back, front))].sort((a, b) => a - b);
        return [(high + 0.05) / (low + 0.05), node.className + ' ' + node.textContent];
    });
}"""


@pytest.fixture
def page(browser):
    opened = browser.new_page()
    opened.dialogs = []
    opened.on("dialog", lambda dialog: (opened.dialogs.append(dialog.message), dialog.dismiss()))
    yield opened
    assert opened.dialogs == []
    opened.close()


@pytest.mark.parametrize("body", [LIGHT, DARK, ""], ids=["light", "dark", "saved file"])
def test_text_has_contrast_on_every_colour(page, body) -> None:
    tokens = ["zero", " weak", " full", " minus", "\n", "<script>alert(1)</script>", "\t"]
    values = [0, 0.1, 10, -10, 10, 5, 0]
    strip = tokens_view(tokens, values, peak=2, labels=["entity.person", *[None] * 6]).html
    table = html_table([{"name": "loss", "value": 1.5}], caption="caption", header="header")
    page.set_content(f"<!doctype html><body{body}>{strip}{concordance([(tokens, values, 2)]).html}{table}")
    measured = page.evaluate(CONTRAST)
    assert len(measured) > 20
    assert min(measured)[0] >= 4.5, min(measured)


@pytest.mark.parametrize("width", [1200, 800, 480])
def test_whole_tokens_with_peaks_in_one_column(page, width) -> None:
    words = [" it", " was", " a", " very", " considerable", " time", " ago", ",", " 漢字", " and"] * 8
    rows = [(words, [0.0] * at + [2.0] + [0.0] * (79 - at), at) for at in (0, 3, 40, 44, 79)]
    page.set_viewport_size({"width": width, "height": 600})
    page.set_content(f"<!doctype html><body>{concordance(rows).html}")
    seen = page.evaluate("""() => [...document.querySelectorAll('.row')].map(row => {
        const peak = row.querySelector('.peak').getBoundingClientRect().left;
        // A silent run holds several: of each word the box is that of its letters.
        const boxes = [...row.querySelectorAll('.left > *, .right > *')].flatMap(part => {
            const cell = part.parentElement.getBoundingClientRect();
            if (part.matches('.k')) return [[part.getBoundingClientRect(), cell]];
            return [...part.textContent.matchAll(/[^ ]+/g)].map(word => {
                const range = document.createRange();
                range.setStart(part.firstChild, word.index);
                range.setEnd(part.firstChild, word.index + word[0].length);
                return [range.getBoundingClientRect(), cell];
            });
        });
        return [peak, boxes.map(([box, cell]) => {
            const inside = box.top < cell.bottom && box.bottom > cell.top && box.width > 0;
            return !inside ? 'gone' : box.left >= cell.left - .5 && box.right <= cell.right + .5 ? 'whole' : 'cut';
        })];
    })""")
    assert len({round(left) for left, _ in seen}) == 1
    for _, tokens in seen:
        assert "cut" not in tokens and tokens.count("whole") >= 3
    assert seen[2][1].count("whole") >= {1200: 25, 800: 14, 480: 8}[width]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_page_without_styles_still_reads_in_order(page) -> None:
    html = concordance([(["a ", "b ", "c ", "d"], [0, 1, 0, 0], 1)]).html.split("</style>")[1]
    page.set_content(html)
    assert page.locator(".row").inner_text() == "1.00 a b c d"


@pytest.mark.parametrize("words", [[" it", " was", " consider", "able", "\n"], ["漢字", "かな", "交じり"]])
def test_a_strip_breaks_before_tokens_and_never_overflows(page, words) -> None:
    page.set_viewport_size({"width": 400, "height": 600})
    page.set_content(f"<!doctype html><body>{tokens_view(words * 20, [1.0] * 20 * len(words)).html}")
    lines = page.evaluate("[...document.querySelectorAll('.k')].map(token => token.getClientRects().length)")
    assert set(lines) <= {1, 2} and lines.count(2) <= words.count("\n") * 20  # only a newline makes two boxes
    assert page.evaluate("document.querySelector('.text').scrollWidth <= document.querySelector('.text').clientWidth")
    assert page.evaluate("document.querySelector('.text').clientHeight") > 60
