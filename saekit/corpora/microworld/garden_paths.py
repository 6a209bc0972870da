"""Garden paths: sentences that seem to go one way and turn out to go another, beside their unambiguous twins.

"While Anna dressed the baby slept." (the baby is not dressed) and "While Anna dressed, the baby slept." Source of the
question: Hanna and Mueller 2025, "Incremental sentence processing mechanisms", arXiv:2412.05353."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_filler, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import NAMES, person

KIND = "garden_paths"
SHARE = 1.5

CONJUNCTION = slot("While|When|As|After|Whenever|Because|Once|Since", "Just when|Until", "Although|Ever since")
# a verb that takes an object or none / an object that seems to be its own / what the object does
SCENE = slot(
    "dressed/the baby/slept|ate/the soup/got cold|read/the letter/burned|hunted/the deer/ran away|"
    "washed/the dog/barked|"
    "sang/the song/was heard in the street|wrote/the book/was lost|drank/the milk/turned sour|played/the game/ended|"
    "cooked/the fish/fell to the floor|paid/the bill/was torn|visited/the king/died|left/the town/burned|"
    "called/the doctor/came|watched/the film/stopped|cleaned/the window/broke",
    "baked/the bread/grew hard|drove/the car/lost a wheel",
    "taught/the class/laughed|phoned/the boss/walked in",
)
SEEMS = "garden_path.ambiguous"
CLEAR = "garden_path.clear"


def document(draw: Draw, split: str) -> Document:
    """One or two sentences in which a noun seems to be the object of a verb until the next verb comes; a comma before
    the noun, in half of them, makes it clear."""
    page = Page()
    for _ in range(draw.integer(1, 2)):
        conjunction, scene = draw_phrases(split, KIND, lambda: (CONJUNCTION.draw(draw, split), SCENE.draw(draw, split)))
        verb, noun, does = scene.split("/")
        name = draw_filler(split, KIND, lambda: draw.zipf(NAMES), verb)
        clear = draw.chance(0.5)
        page.space("x")
        start = page.length
        page.write(conjunction)
        page.write("{N}", {"N": person(name)})
        page.write(verb)
        if clear:
            page.write(",")
        page.write("{x}", {"x": (noun, ("garden_path.noun",))})
        page.write(does + ".", concepts=("garden_path.turn",))
        page.mark(start, CLEAR if clear else SEEMS)
    return page.document(KIND)
