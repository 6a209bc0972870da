"""Capitals: facts. "As everyone knows, the capital of France is" → " Paris"."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.microworld.words import CAPITALS, CITIES, COUNTRIES, NAMES, city, person

KIND = "capitals"
SHARE = 12.0

OPENER = slot(
    "||||As everyone knows,|In the book it says that|Remember:|My teacher told me that|It is true that|Note that|"
    "On this map|Today|We learned that|"
    "He wrote:|I am sure that|Do not forget:|It is well known that|She told us that|Look:|You know that|"
    "On the next page:|They say that|"
    "In those days|Every child knows that|My father said that|At the moment",
    "The guide explained that|Of course|In school we read that",
    "The pilot announced that|Without doubt|In the atlas we saw that",
)
# No phrase here may begin another one, or what follows it would not be certain.
FRAME = slot(
    "the capital of {X} is|{X}'s capital is|the capital city of {X} is|{X} has a capital called|"
    "the main city of {X} is|"
    "if you go to the capital of {X}, you are in|the king of {X} lived in the capital,|{X} is ruled from its capital,|"
    "people from {X} call their capital|the train to the capital of {X} stops in|"
    "the largest office in {X} is in its capital,|{X}: capital|"
    "to see the capital of {X}, go to|the queen of {X} has a house in the capital,|"
    "the road to the capital of {X} ends in|"
    "this is the capital of {X}:|I have seen the capital of {X},|{X} and its capital|"
    "the capital of {X}, as on the map, is|"
    "the seat of the king of {X} is|the first city of {X} is|the chief city of {X} is|"
    "the capital of the land of {X} is|"
    "the parliament of {X} sits in|the president of {X} works in|{X} is governed from|the ministers of {X} meet in|"
    "the old capital of {X} is|"
    "the court of {X} is in|the name for the capital of {X} is|all roads in {X} lead to the capital,|"
    "the government of {X} sits in|"
    "we flew to the capital of {X},|he lives in the capital of {X},|she was born in the capital of {X},|"
    "they left the capital of {X},",
    "the town from which {X} is ruled is|country: {X}; capital:|the capital of {X} has always been|"
    "the rulers of {X} have their palace in|you will find the capital of {X} marked here:|as its capital {X} chose",
    "those who govern {X} do it from|{X}, capital city:|the capital of {X} remains|"
    "the flag of {X} flies over its capital,|for its capital {X} picked|the capital that belongs to {X}:",
)
QUESTION = slot(
    "What is the capital of {X}?|Which city is the capital of {X}?|{X} has which capital?|"
    "What do they call the capital of {X}?|"
    "What is {X}'s capital?|From where is {X} ruled?|Where does the king of {X} live?|Which is the main city of {X}?|"
    "Where is the government of {X}?|The capital of {X}?|Do you know the capital of {X}?|Tell me the capital of {X}.",
    "Can you name the capital of {X}?|Which town is the capital of {X}?|What would you call the capital of {X}?",
    "Could you say what the capital of {X} is?|What capital does {X} have?|Any idea what the capital of {X} is?",
)
# Cities without a question about capitals, so that a city's name alone does not give away `answer.capital`.
TRAVEL = [
    "{N} went from {C} to {D}.",
    "{N} lives in {C}.",
    "The train from {C} to {D} was late.",
    "{N} met {M} in {C}.",
    "In {C} it was cold.",
    "{N} wrote a letter from {C}.",
    "The roads of {C} are old.",
]


def draw_question(draw: Draw, split: str) -> tuple[str, tuple[str, ...]]:
    """A country and the phrases that ask for its capital."""

    def phrases() -> tuple[str, ...]:
        if draw.chance(0.3):
            return ("Q:", QUESTION.draw(draw, split), "A:")
        return (OPENER.draw(draw, split), FRAME.draw(draw, split))

    asked = draw_phrases(split, KIND, phrases)
    if split.startswith("unseen"):
        return draw.zipf(COUNTRIES), asked  # with a phrase never trained, so is any country
    # A country and the phrase that asks for it: one pair in ten is never trained.
    country, _ = draw_fillers(split, KIND, lambda: (draw.zipf(COUNTRIES), asked[1]))
    return country, asked


def write_question(page: Page, country: str, asked: tuple[str, ...]) -> None:
    fills = {"X": (country, ("entity.country",))}
    if asked[0] == "Q:":
        page.write("Q:")
        page.write(asked[1], fills, concepts=("question",))
        page.write("A:")
    else:
        for phrase in asked:
            page.write(phrase, fills)


def write_travel(page: Page, draw: Draw) -> None:
    (first, second), (here, there) = draw.zipf_pair(NAMES), draw.zipf_pair(CITIES)
    page.write(draw.choose(TRAVEL), {"N": person(first), "M": person(second), "C": city(here), "D": city(there)})


def document(draw: Draw, split: str) -> Document:
    page = Page()
    for _ in range(draw.integer(1, 3)):
        country, asked = draw_question(draw, split)
        write_question(page, country, asked)
        page.write("{C}.", {"C": city(CAPITALS[country], "answer.capital")})
        if draw.chance(0.2):
            write_travel(page, draw)
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: another country."""
    country, asked = draw_question(draw, split)
    other = country
    while other == country:
        other = draw.zipf(COUNTRIES)
    clean, corrupt = Page(), Page()
    write_question(clean, country, asked)
    write_question(corrupt, other, asked)
    return Prompts(clean.text, corrupt.text, (" " + CAPITALS[country],), (" " + CAPITALS[other],))
