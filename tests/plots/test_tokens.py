"""Tokens drawn as text: escaping, the strength of the colour, whole tokens in a concordance."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from saekit.plots import concordance, tokens_view
from saekit.plots.tokens import shown


class Parsed(HTMLParser):
    """What a browser would make of the HTML: the tags, and the text outside <style>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.titles: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        if self.tags[-1] != "style" or "{" not in data:
            self.text += data


def test_text_survives_and_nothing_of_it_becomes_a_tag() -> None:
    tokens = ["Hi", " <script>alert(1)</script>", " \"quoted\" & 'single'", "</span>", " Борис", "🐻"]
    page = Parsed(tokens_view(tokens, [0, 1, 2, 3, 0, 0], labels=[None, "<b>x</b>", None, None, None, None]).html)
    assert page.text.startswith("".join(tokens))
    assert set(page.tags) == {"style", "div", "span", "wbr", "p"}
    assert page.titles[1] == "␣<script>alert(1)</script>   1   <b>x</b>"


def test_background_is_a_tenth_plus_nine_tenths_of_the_share_and_zero_is_bare() -> None:
    html = tokens_view(["a", "b", "c", "d"], [0.0, 2.0, 4.0, 1e-9]).html
    assert re.findall(r'<span class="k[^>]*?>', html) == [
        '<span class="k" title="a   0">',
        '<span class="k" style="--a:0.550" title="b   2">',
        '<span class="k" style="--a:1.000" title="c   4">',
        '<span class="k" style="--a:0.100" title="d   1e-09">'.replace("1e-09", "1e−09"),
    ]
    assert "--a:0.325" in tokens_view(["a"], [1.0], maximum=4.0).html  # 0.1 + 0.9 · 1/4
    assert "--a:" not in tokens_view(["a"], [0.0]).html.split("</style>")[1]


def test_signs_for_what_cannot_be_seen() -> None:
    assert shown("a\n\tb c") == "a↵⇥b c"
    assert shown(" a", spaces=True) == "␣a"
    assert shown("\u202ex\x1b\x00") == "⟨202E⟩x⟨001B⟩⟨0000⟩"
    page = Parsed(tokens_view(["x", "\n", "  ", "  "], [0, 0, 0, 1]).html)
    assert page.text == "x↵\n  ␣␣"  # blank tokens show their spaces only where they fire


HIDDEN = {
    "zero-width space": "\u200b", "byte order mark": "\ufeff", "soft hyphen": "\u00ad", "line separator": "\u2028",
    "paragraph separator": "\u2029", "word joiner": "\u2060", "left-to-right mark": "\u200e",
    "right-to-left mark": "\u200f", "arabic letter mark": "\u061c", "right-to-left override": "\u202e",
    "isolate": "\u2067", "vowel separator": "\u180e", "invisible times": "\u2062", "annotation": "\ufff9",
    "carriage return": "\r", "next line": "\u0085", "half a character": "\ud800",
}  # fmt: skip


@pytest.mark.parametrize("character", HIDDEN.values(), ids=HIDDEN)
def test_what_draws_nothing_or_turns_the_text_is_shown_as_its_code(character: str) -> None:
    code = f"⟨{ord(character):04X}⟩"
    assert shown(character) == code and shown(f"a{character}b", spaces=True) == f"a{code}b"
    for html in (tokens_view([f"a{character}"], [1.0]).html, concordance([([f"a{character}"], [1.0], 0)]).html):
        assert character not in html and f"a{code}" in Parsed(html).text and f"a{code}   1" in Parsed(html).titles


def test_joiners_stay_inside_emoji_and_words_and_are_shown_alone() -> None:
    assert shown("👩\u200d👧") == "👩\u200d👧" and shown("می\u200cخواهم") == "می\u200cخواهم"
    assert (shown("\u200d"), shown("\u200c")) == ("⟨200D⟩", "⟨200C⟩")


def test_the_browser_hides_the_same_characters() -> None:
    script = (Path(__file__).parents[2] / "widgets/src/shared/tokens.js").read_text(encoding="utf-8")
    hidden, joiners = (
        re.compile(re.search(rf"const {name} =\s+/(\[.*\])/", script)[1])  # type: ignore[index]
        for name in ("HIDDEN", "JOINERS")
    )
    for c in map(chr, [*range(0xD800), *range(0xE000, 0x30000)]):
        assert (shown(f"{c}x") != f"{c}x") == bool((hidden.match(c) and not joiners.match(c)) or c in "\n\t"), ascii(c)
        assert (shown(c) != c) == bool(hidden.match(c) or c in "\n\t"), ascii(c)


def test_concordance_puts_peaks_in_one_column_with_whole_tokens() -> None:
    left = [" word"] * 12  # 5 columns each: 3 fit in 18, 6 in 30, 8 in 44
    html = concordance([([*left, " PEAK", " after"], [0.0] * 12 + [3.0, 1.0], 12), (["x"], [0.5], 0)]).html
    row = re.findall(r'<div class="row.*?</div>', html)[0]
    before, after = row.split('<span class="right">')
    # Silent neighbours that one width shows are one text.
    assert re.findall(r'<span(?: class="(f\d)")?>([^<]+)</span>', before) == [
        ("f3", " word" * 2),
        ("f2", " word" * 3),
        ("", " word" * 3),
    ]
    assert Parsed(row).text == "3.00 " + " word" * 8 + " PEAK after"
    assert 'class="k peak" style="--a:1.000"' in after
    assert html.count('role="listitem"') == 2
    assert "--a:0.250" in html  # the second row shares the first's maximum: 0.1 + 0.9 · 0.5/3


def test_silent_tokens_in_a_row_are_one_text_and_what_needs_care_stands_alone() -> None:
    tokens = ["a", " b", "\n", " שלום", "漢", " <c>", "d", "!", "x" * 31]
    html = concordance([(["P", *tokens], [1.0] + [0.0] * 6 + [-0.5, 0.0, 0.0], 0)]).html
    after = html.split('<span class="right">')[1]
    drawn = re.findall(
        r'<(?:b|span)(?: class="([^"]*)"[^>]*)?>((?:[^<]|<span class="sign">.</span>)*)</(?:b|span)>', after
    )
    assert drawn == [
        *[("k peak", "P"), ("", 'a b<span class="sign">↵</span>'), ("k", " שלום"), ("k", "漢"), ("", " &lt;c&gt;")],
        *[("k minus", "d"), ("", "!"), ("k", "x" * 31)],
    ]
    assert len(concordance([([" the"] * 40, [0.0] * 39 + [1.0], 39)] * 20).html) < 8_000


def test_a_token_of_ten_thousand_characters_is_drawn_whole() -> None:
    long = "<b>" * 2_500 + "é" * 2_500
    assert Parsed(tokens_view(["a", long], [0.0, 1.0]).html).text == f"a{long}"
    assert long in Parsed(concordance([(["a", long, "b"], [0.0, 1.0, 0.0], 1), ([long, "c"], [0.0, 1.0], 1)]).html).text


def test_wide_characters_take_two_columns() -> None:
    html = concordance([(["漢字"] * 6 + ["x"], [0.0] * 6 + [1.0], 6)]).html
    assert html.count('class="k"') == 4  # 4 columns each: four fit in 18


@pytest.mark.parametrize(
    ("tokens", "values", "more", "says"),
    [
        (["a"], [1.0, 2.0], {}, "1 tokens and 2 values"),
        (["a"], [float("nan")], {}, "value nan for token 0"),
        (["a"], [1.0], {"peak": 1}, "peak=1 for 1 tokens"),
        (["a"], [1.0], {"maximum": -1.0}, "maximum=-1.0"),
        (["a"], [1.0], {"labels": []}, "1 tokens and 0 labels"),
    ],
)
def test_bad_input_is_one_sentence(tokens: list[str], values: list[float], more: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tokens_view(tokens, values, **more)


def test_nothing_to_draw_is_said() -> None:
    assert "no examples" in concordance([]).html
    assert repr(tokens_view([], [])) == "<TokensView: 0 tokens, maximum 0>"


def test_a_line_can_have_a_number_of_its_own() -> None:
    assert "−0.25" in concordance([(["a", "b"], [0.0, 0.0], 1)], numbers=[-0.25]).html
    assert "<b>0.00</b>" in concordance([(["a"], [0.0], 0)], numbers=[-0.004]).html
    with pytest.raises(ValueError, match="1 rows and 2 numbers"):
        concordance([(["a"], [0.0], 0)], numbers=[1.0, 2.0])
