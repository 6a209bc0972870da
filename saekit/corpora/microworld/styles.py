"""Styles: the same things said formally and informally; one note keeps one style."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import Slot, slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import NAMES, OBJECTS, PLACES, person, place, thing

KIND = "styles"
SHARE = 2.5

# style → greeting, body, farewell
STYLES: dict[str, tuple[Slot, Slot, Slot]] = {
    "formal": (
        slot(
            "Dear {N},|Dear Sir or Madam,|To whom it may concern:|Most honoured {N},|Dear colleague {N},|My dear {N},",
            "Esteemed {N},",
            "Highly respected {N},",
        ),
        slot(
            "we regret to inform you that the {place} will be closed.|"
            "I would be grateful if you could return the {object}.|"
            "please find enclosed the {object} you requested.|it is with pleasure that we invite you to the {place}.|"
            "we kindly ask you not to enter the {place}.|I wish to thank you for the {object}.|"
            "may I draw your attention to the {object}?|we should be pleased to receive the {object}.",
            "permit me to offer you the {object}.",
            "it would be an honour to meet you at the {place}.",
        ),
        slot(
            "Yours faithfully, {M}.|Yours sincerely, {M}.|With kind regards, {M}.|I remain your obedient servant, {M}.|"
            "Respectfully yours, {M}.",
            "With the highest esteem, {M}.",
            "Most cordially, {M}.",
        ),
    ),
    "informal": (
        slot("Hey {N}!|Hi {N},|Yo {N}!|Hello hello {N}!|What's up, {N}?|Oi {N}!", "Howdy {N}!", "Heya {N},"),
        slot(
            "the {place} is shut, bummer.|gimme back the {object}, will you?|here's the {object}, like you said.|"
            "wanna come to the {place}?|stay out of the {place}, ok?|cheers for the {object}!|"
            "have you seen that {object}?|"
            "got any {object} for me?",
            "that {object} is yours if you like it.",
            "see you at the {place}, yeah?",
        ),
        slot("Bye, {M}.|See ya, {M}.|Later, {M}.|Cheers, {M}.|Hugs, {M}.", "Ta-ta, {M}.", "Take care mate, {M}."),
    ),
}


def document(draw: Draw, split: str) -> Document:
    """A letter of one style, formal or informal, from its greeting to its end."""
    page = Page()
    style = draw.choose(tuple(STYLES))
    phrases = draw_phrases(split, KIND, lambda: tuple(part.draw(draw, split) for part in STYLES[style]))
    first, second = draw_fillers(split, KIND, lambda: draw.zipf_pair(NAMES))
    fills = {
        "N": person(first),
        "M": person(second),
        "place": place(draw.zipf(PLACES)),
        "object": thing(draw.zipf(OBJECTS)),
    }
    for phrase, part in zip(phrases, ("greeting", "body", "farewell"), strict=True):
        page.write(phrase, fills, concepts=(f"style.{part}", f"style.{style}.{part}"))
    page.mark(0, f"style.{style}")
    return page.document(KIND)
