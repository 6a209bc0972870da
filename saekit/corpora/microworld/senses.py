"""Senses: words with two meanings, each in a sentence that decides which one is meant."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_filler, draw_phrases
from saekit.corpora.microworld.grammar import Slot, slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import NAMES, person

KIND = "senses"
SHARE = 2.5

# word → its two senses, each with sentences that could not hold the other one
SENSES: dict[str, dict[str, Slot]] = {
    "bank": {
        "money": slot(
            "{N} put the money in the {w}.|The {w} lent {N} a thousand coins.|{N} opened an account at the {w}.|"
            "The {w} was robbed at noon, said {N}.|{N} owes the {w} a lot of money.",
            "The {w} paid {N} a small interest.",
            "{N} asked the {w} for a loan.",
        ),
        "river": slot(
            "{N} sat on the {w} of the river.|The water rose over the {w} near {N}.|{N} fished from the muddy {w}.|"
            "The boat of {N} lay at the {w}.|Trees grow along the {w}, wrote {N}.",
            "{N} swam to the other {w}.",
            "The {w} was steep, and {N} fell into the stream.",
        ),
    },
    "bat": {
        "animal": slot(
            "A {w} flew over the head of {N} at night.|{N} found a {w} asleep in the cave.|"
            "The {w} ate the flies of {N}.|"
            "{N} heard the wings of a {w}.",
            "The {w} hung from the roof above {N}.",
            "{N} saw a {w} hunt in the dark.",
        ),
        "sport": slot(
            "{N} hit the ball with the {w}.|The {w} of {N} broke in the last game.|"
            "{N} bought a wooden {w} for the team.|"
            "{N} swung the {w} and missed the ball.",
            "The player gave {N} the {w}.",
            "{N} held the {w} with both hands and waited for the ball.",
        ),
    },
    "spring": {
        "season": slot(
            "In the {w} {N} plants flowers.|{N} was born in the {w}.|After the winter came the {w}, and {N} smiled.|"
            "The birds of {N} come back in the {w}.",
            "{N} waits for the warm days of {w}.",
            "Every {w} {N} cleans the house.",
        ),
        "coil": slot(
            "The {w} in the clock of {N} broke.|{N} pressed the steel {w} and let it go.|"
            "A {w} jumped out of the bed of {N}.|"
            "{N} put a new {w} into the lock.",
            "The {w} was made of wire, said {N}.",
            "{N} oiled the {w} of the door.",
        ),
    },
    "match": {
        "fire": slot(
            "{N} lit the candle with a {w}.|The {w} burned the fingers of {N}.|{N} struck a {w} in the dark.|"
            "A wet {w} does not burn, said {N}.",
            "{N} dropped the {w} and the paper caught fire.",
            "The last {w} went out, and {N} was cold.",
        ),
        "game": slot(
            "{N} won the {w} on Sunday.|The {w} ended two to one for {N}.|{N} watched the {w} from the last row.|"
            "The team of {N} lost the {w}.",
            "{N} played the whole {w}.",
            "The {w} was stopped because {N} fell.",
        ),
    },
    "letter": {
        "mail": slot(
            "{N} sent a {w} to the king.|The {w} for {N} came on Monday.|{N} opened the {w} with a knife.|"
            "There was no stamp on the {w} of {N}.",
            "{N} waited a week for a {w}.",
            "The {w} was lost on its way to {N}.",
        ),
        "alphabet": slot(
            "The first {w} of the word is an A, said {N}.|{N} cannot read this {w}: is it a B?|"
            "{N} forgot a {w} in the word.|"
            "The name of {N} begins with the same {w}.",
            "{N} wrote each {w} of the word twice.",
            "A {w} is missing in the name of {N}.",
        ),
    },
    "ring": {
        "jewel": slot(
            "{N} wore a gold {w}.|The {w} of {N} was too small for the finger.|{N} lost the {w} with the red stone.|"
            "{N} bought a {w} for the wedding.",
            "The {w} of {N} shone in the light.",
            "{N} sold the {w} of the queen.",
        ),
        "sound": slot(
            "{N} heard the telephone {w}.|The bells {w} when {N} comes.|{N} let the bell {w} twice.|"
            "The phone did not {w}, said {N}.",
            "{N} heard the clock {w} at noon.",
            "Did you hear the bell {w}, {N}?",
        ),
    },
}


def draw_sense(draw: Draw, split: str) -> tuple[str, str, str]:
    """A word, one of its senses, and a sentence in which it has it."""
    word = draw.choose(tuple(SENSES))
    sense = draw.choose(tuple(SENSES[word]))
    return word, sense, SENSES[word][sense].draw(draw, split)


def document(draw: Draw, split: str) -> Document:
    """One to three sentences, the word in each labelled with its sense."""
    page = Page()
    for _ in range(draw.integer(1, 3)):
        word, sense, sentence = draw_phrases(split, KIND, lambda: draw_sense(draw, split))
        name = draw_filler(split, KIND, lambda: draw.zipf(NAMES), word)
        page.write(sentence, {"N": person(name), "w": (word, (f"sense.{word}.{sense}",))})
    return page.document(KIND)
