"""Repeats: a list of words or a passage comes twice, so that the second time it can be copied (induction)."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld import introductions
from saekit.corpora.microworld.chance import Draw, draw_fillers
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import ADJECTIVES, CITIES, COUNTRIES, FOODS, NAMES, NOUNS, OBJECTS, PLACES, person

KIND = "repeats"
SHARE = 11.0

POOL = tuple(sorted({*PLACES, *OBJECTS, *NOUNS, *ADJECTIVES, *COUNTRIES, *CITIES, *FOODS}))
SEPARATOR = slot(
    ", | and | |; |, then | / | to | with | or | - |. | near | for | of | from |: | then | after | + ",
    " beside | under ",
    " by | > ",
)
PEOPLE = frozenset(NAMES)


def write_list(page: Page, draw: Draw, split: str) -> None:
    """Words in an order that nothing explains, and then a first part of them again."""
    names = draw.chance(0.5)
    pool = NAMES if names else POOL
    separator = SEPARATOR.draw(draw, split)
    words = draw_fillers(split, KIND, lambda: tuple(draw.sample(pool, draw.integer(4, 12))))
    again = draw.integer(3, len(words))
    for turn, part in enumerate((words, words[:again])):
        start = page.length
        for index, word in enumerate(part):
            page.add(word, person(word)[1] if word in PEOPLE else ())
            if index + 1 < len(part):
                page.add(separator)
        if turn:
            page.mark(start, "repeated", "repeated.list")
        else:
            page.add(separator)
    page.add(".")


def write_passage(page: Page, draw: Draw, split: str) -> None:
    scene = introductions.draw_scene(draw, split)
    for turn in range(2):
        page.space("x")
        start = page.length
        introductions.write_scene(page, scene)
        introductions.write_other(page, scene, ".")
        if turn:
            page.mark(start, "repeated", "repeated.passage")


def document(draw: Draw, split: str) -> Document:
    page = Page()
    if draw.chance(0.7):
        write_list(page, draw, split)
    else:
        write_passage(page, draw, split)
    return page.document(KIND)
