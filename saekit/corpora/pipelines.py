"""Pipelines: a small closed world beside the microworld, which the embedded model has never read, so that a copy of it
that was fine-tuned on them knows something that the model itself does not.

Each of four pipelines is a ring of the same sixteen parts in an order of its own; a document names one, and follows it
from some part on: "The red pipeline: socket, then codec, then frame …". Which part is next follows from the two, the
pipeline and the last part, and from nothing else in the text: no part stands in a document twice, so that nothing can
be copied from further up. The words are whole tokens of the embedded model's tokenizer, and the parts are none of the
microworld's words. Every document is labelled from its first letter to its last (`pipeline`), and its pieces within.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, Words, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page

KIND = "pipelines"

PARTS = Words(
    "socket|parser|codec|header|stack|token|widget|frame|module|compiler|engine|stream|block|protocol|platform|section"
)
ORDERS = {name: tuple(Draw(KIND, name).shuffled(PARTS)) for name in ("red", "blue", "north", "east")}
SHORTEST = 8  # parts in a document; the longest has all

BEGIN = slot(
    "The {name} pipeline:|Here is the {name} pipeline:|Follow the {name} pipeline:|In the {name} pipeline|"
    "Down the {name} pipeline:|We take the {name} pipeline:",
    "See the {name} pipeline:|Through the {name} pipeline:",
    "This is the {name} pipeline:|Along the {name} pipeline:",
)
THEN = slot(
    ", then| to|, next| and then|, and after that| into",
    ", later| before",
    ", now| and on to",
)
END = slot(
    "That is all.|There it stops.|Then it is over.|And so on.|The rest you know.",
    "It ends there.",
    "Here we stop.",
)


def document(split: str, seed: int, number: int) -> Document:
    """A pipeline by its name, and eight to sixteen parts of it in their order: a function of its arguments alone.

    number: which document of the split."""
    draw, page = Draw(KIND, split, seed, number), Page()
    begin, then, end = draw_phrases(split, KIND, lambda: tuple(one.draw(draw, split) for one in (BEGIN, THEN, END)))
    name, first = draw_fillers(split, KIND, lambda: (draw.choose(tuple(ORDERS)), draw.choose(PARTS)))
    start, length = ORDERS[name].index(first), draw.integer(SHORTEST, len(PARTS))
    page.write(begin, {"name": (name, ("pipeline.name",))})
    for place in range(length):
        if place:
            page.write(then, concepts=("pipeline.then",))
        due = "pipeline.part.next" if place else "pipeline.part.first"
        page.write("{part}", {"part": (ORDERS[name][(start + place) % len(PARTS)], ("pipeline.part", due))})
    page.write(".")
    page.write(end)
    page.mark(0, "pipeline")
    return page.document(KIND)


def stream(seed: int) -> Iterator[Document]:
    """The endless training stream."""
    return (document("train", seed, number) for number in count())
