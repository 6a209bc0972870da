"""Sums: two numbers of two digits and what they make. A model this small does not learn them; the row says so."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.prompts import Prompts

KIND = "sums"
SHARE = 2.0

FRAME = slot(
    "{x} + {y} =|Q: What is {x} plus {y}? A:|the sum of {x} and {y} is|{x} plus {y} is|"
    "if you add {x} and {y}, you get|{x} and {y} make|{x} more than {y} is|count {x} and then {y}: that is|"
    "Q: {x} + {y}? A:|first {x}, then {y}, in all|{y} added to {x} is|together {x} and {y} are",
    "add {y} to {x}:|{x} apples and {y} apples are",
    "the total of {x} and {y} is|put {x} and {y} together and you have",
)


def draw_sum(draw: Draw, split: str) -> tuple[str, int, int]:
    """A frame and two summands of two digits, a combination for the split."""
    (frame,) = draw_phrases(split, KIND, lambda: (FRAME.draw(draw, split),))
    first, second = draw_fillers(split, KIND, lambda: (str(draw.integer(10, 99)), str(draw.integer(10, 99))))
    return frame, int(first), int(second)


def write_sum(page: Page, frame: str, first: int, second: int) -> None:
    """Write up to the place where the sum is due."""
    fills = {"x": (str(first), ("number.summand",)), "y": (str(second), ("number.summand",))}
    page.write(frame, fills)


def document(draw: Draw, split: str) -> Document:
    """One to three sums, labelled where the units carry."""
    page = Page()
    for _ in range(draw.integer(1, 3)):
        frame, first, second = draw_sum(draw, split)
        write_sum(page, frame, first, second)
        carries = ("number.sum", "number.sum.carries" if first % 10 + second % 10 > 9 else "number.sum.plain")
        page.write("{s}.", {"s": (str(first + second), carries)})
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: another second number. The answer may be more than one token: `load_pairs` has no task for it."""
    frame, first, second = draw_sum(draw, split)
    other = second
    while other == second:
        other = draw.integer(10, 99)
    clean, corrupt = Page(), Page()
    write_sum(clean, frame, first, second)
    write_sum(corrupt, frame, first, other)
    return Prompts(clean.text, corrupt.text, (f" {first + second}",), (f" {first + other}",), spans=tuple(clean.spans))
