"""Repeats: a list of words or a passage comes twice, so that the second time it can be copied (induction).

"river, spoon, Rome, bread, river, spoon," → " Rome". Source of the task: Olsson et al. 2022, arXiv:2209.11895."""

from __future__ import annotations

from saekit.corpora.documents import Document, Span
from saekit.corpora.microworld import introductions
from saekit.corpora.microworld.chance import Draw, draw_fillers
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.prompts import Prompts
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


def draw_list(draw: Draw, split: str) -> tuple[str, tuple[str, ...]]:
    """A separator and different words, in an order that nothing explains."""
    pool = NAMES if draw.chance(0.5) else POOL
    separator = SEPARATOR.draw(draw, split)
    return separator, draw_fillers(split, KIND, lambda: tuple(draw.sample(pool, draw.integer(4, 12))))


def write_words(page: Page, words: tuple[str, ...], separator: str) -> None:
    """Words with a separator between them; names are labelled as people."""
    for place, word in enumerate(words):
        page.add(separator if place else "")
        page.add(word, person(word)[1] if word in PEOPLE else ())


def write_list(page: Page, draw: Draw, split: str) -> None:
    """The words, and then a first part of them again."""
    separator, words = draw_list(draw, split)
    write_words(page, words, separator)
    page.add(separator)
    start = page.length
    write_words(page, words[: draw.integer(3, len(words))], separator)
    page.mark(start, "repeated", "repeated.list")
    page.add(".")


def write_passage(page: Page, draw: Draw, split: str) -> None:
    """A scene of the introductions twice, its second time labelled."""
    scene = introductions.draw_scene(draw, split)
    for turn in range(2):
        page.space("x")
        start = page.length
        introductions.write_scene(page, scene)
        introductions.write_other(page, scene, ".")
        if turn:
            page.mark(start, "repeated", "repeated.passage")


def document(draw: Draw, split: str) -> Document:
    """A list that begins again, or a passage told twice."""
    page = Page()
    if draw.chance(0.7):
        write_list(page, draw, split)
    else:
        write_passage(page, draw, split)
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: in the first list another word stands in the asked place. The separator ends in a space, which belongs
    to the answer."""
    separator, words = draw_list(draw, split)
    place = draw.integer(2, len(words) - 1)
    other = words[place]
    while other in words:
        other = draw.choose(NAMES if words[0] in PEOPLE else POOL)
    texts = []
    for first in (words, (*words[:place], other, *words[place + 1 :])):
        page = Page()
        write_words(page, first, separator)
        page.add(separator)
        write_words(page, words[:place], separator)
        page.add(separator.rstrip())
        texts.append(page.text)
    before, again = separator.join((*words[:place], "")), separator.join((*words, *words[: place - 1], ""))
    spans = (
        Span(len(before), len(before) + len(words[place]), "list.answer"),
        Span(len(again), len(again) + len(words[place - 1]), "list.cue"),
    )
    return Prompts(texts[0], texts[1], (" " + words[place],), (" " + other,), spans=spans)
