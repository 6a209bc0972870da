"""Taxonomy: what is a kind of what. A dog is an animal, an animal is a living thing; labels nest as the kinds do."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_filler, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Fill, Page

KIND = "taxonomy"
SHARE = 2.5

# kind → (its own kind, its members)
MEMBERS = {
    "animal": "dog|cat|horse|cow|goat|duck|fox|wolf|sheep|mouse|bear|frog",
    "plant": "tree|rose|grass|fern|moss|tulip|oak|pine|weed|cactus",
    "tool": "hammer|saw|drill|axe|rake|shovel|needle|knife|brush|file",
    "vehicle": "car|boat|train|wagon|bus|ship|truck|bicycle|tractor|plane",
    "fruit": "apple|pear|plum|cherry|lemon|grape|peach|melon|banana|fig",
    "drink": "milk|tea|coffee|wine|beer|juice|water|cider|lemonade|cocoa",
}
ABOVE = {
    "animal": "living thing",
    "plant": "living thing",
    "tool": "made thing",
    "vehicle": "made thing",
    "fruit": "food",
    "drink": "food",
}
KIND_OF = {member: kind for kind, members in MEMBERS.items() for member in members.split("|")}
IS = slot(
    "A {x} is a kind of {k}.|The {x} is one sort of {k}.|Each {x} is a {k}.|Is a {x} a {k}? Yes.|"
    "A {x} belongs to the kind {k}.|Name a {k}: a {x}.|An example of a {k} is the {x}.|"
    "Of all that is a {k}, take a {x}.|"
    "What is a {x}? It is a {k}.|Every {x} counts as a {k}.|The word {x} names a {k}.|A {x}, like any {k}, has a name.",
    "We call a {x} a {k}.|Among the sorts of {k} there is the {x}.",
    "No {x} is not a {k}.|You may call the {x} a {k}.",
)
UP = slot(
    "A {k} is a kind of {t}.|Each {k} is a {t}.|So a {x} is a {t} too.|And a {x}, being a {k}, is a {t}.|"
    "What is a {k}? It is a {t}.|Thus every {x} is a {t}.",
    "That makes the {x} a {t}.",
    "In short, a {x} is a {t}.",
)


def member(word: str) -> Fill:
    """Labels from the narrow to the wide: taxonomy.living_thing, .animal, .dog."""
    kind = KIND_OF[word]
    above = ABOVE[kind].replace(" ", "_")
    return word, (f"taxonomy.{above}", f"taxonomy.{above}.{kind}", f"taxonomy.{above}.{kind}.{word}")


def document(draw: Draw, split: str) -> Document:
    """One to three words with the kind they are of, half of them with the kind above it too."""
    page = Page()
    for _ in range(draw.integer(1, 3)):
        first, then = draw_phrases(split, KIND, lambda: (IS.draw(draw, split), UP.draw(draw, split)))
        if split.startswith("unseen"):
            word = draw.choose(tuple(KIND_OF))
        else:
            word = draw_filler(split, KIND, lambda: draw.choose(tuple(KIND_OF)), first)
        kind = KIND_OF[word]
        above = ABOVE[kind]
        fills = {
            "x": member(word),
            "k": (kind, ("taxonomy.kind", f"taxonomy.kind.{kind}")),
            "t": (above, ("taxonomy.above",)),
        }
        page.write(first, fills)
        if draw.chance(0.5):
            page.write(then, fills)
    return page.document(KIND)
