"""The heads on a card: the strongest with both shares and bars, what is left out, and sources as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from saekit.features.showing.card import feature_card
from saekit.features.showing.card_heads import heads_line
from saekit.features.showing.card_text import card_text

DECODER = [0.02, 0.05, 0.398, 0.03, 0.2, 0.1, 0.06, 0.04, 0.055, 0.025, 0.015, 0.007]
HEADS = {"decoder": DECODER, "activation": DECODER[::-1], "family": "induction"}
HEADS |= {"induction": 0.71, "local": 0.4, "constant": -0.5}


@pytest.fixture
def view(make_view: Callable[..., Any]) -> Any:
    made = make_view()
    made["heads"] = HEADS
    brought = [(" <b>x", 3, 2, 1.5), (" y", 7, 11, -0.25)]
    made["examples"]["top"][0]["sources"] = [
        {"piece": None, "text": text, "back": back, "head": head, "contribution": value}
        for text, back, head, value in brought
    ]
    return made


def test_the_card_has_a_row_a_head(view: Any) -> None:
    html = feature_card(view, "store", "facts")
    table = re.search(r'<table class="heads">(.*?)</table>', html)
    assert table
    rows = re.findall(r"<tr><td.*?</tr>", table[1])
    order = sorted(range(12), key=lambda head: -DECODER[head])[:8]
    for row, head in zip(rows, order, strict=True):
        shares = DECODER[head], DECODER[11 - head]
        assert re.findall(r"width:([\d.]+)px", row) == [f"{44 * share:.1f}" for share in shares]
        said = [f"{share:.2f}".lstrip("0") for share in shares]
        assert re.sub("<.*?>", " ", row).split() == [str(head), *said]
    assert "4 more heads have .07 of the decoder row." in html  # .02 + .025 + .015 + .007
    assert "induction: .71 from behind an earlier copy, .40 from at most five tokens back" in html
    assert "␣&lt;b&gt;x (3 back, head 2) +1.50, ␣y (7 back, head 11) −0.25" in html and "<b>x" not in html


def test_its_text_says_them_too(view: Any) -> None:
    text = card_text(view, "store", "a summary")
    assert "heads          2 .40  4 .20  5 .10  6 .06  induction\n" in text
    assert "Its strongest example comes from ␣<b>x (3 back, head 2) +1.50" in text
    assert max(map(len, text.splitlines())) <= 100


def test_of_one_that_never_fires_the_decoder_alone(view: Any) -> None:
    view["heads"] = HEADS | {"activation": None, "family": None, "induction": None, "local": None}
    html = feature_card(view, "store", "facts")
    (table,) = re.findall(r'<table class="heads">(.*?)</table>', html)
    assert table.count('class="n">–</td>') == 8 and "earlier copy" not in html and heads_line(view).endswith("6 .06")


def test_without_heads_there_is_no_panel(make_view: Callable[..., Any]) -> None:
    assert "Heads and sources" not in feature_card(make_view(), "store", "facts") and heads_line(make_view()) == ""
