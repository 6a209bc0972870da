"""Capitals: facts. "As everyone knows, the capital of France is" → " Paris"."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import combined, slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.phrases import SURELY, TELLING
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
    more=[*TELLING[::10], *SURELY, *(f"{phrase}," for phrase in SURELY)],
)
MAIN = "capital|capital|capital|capital city|main city|chief city|first city|leading city|royal city"
KING = (
    "king|queen|president|government|senate|court|prince|minister|chief judge|first lady|assembly|cabinet|"
    "council|royal family|head|leader|chancellor|national bank|high court|ministry|duke|emperor"
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
    more=[
        *combined(
            "the <main> of {X} <verb>|{X}'s <main> <verb>|in {X} the <main> <verb>|the <main>, in {X}, <verb>",
            main=MAIN,
            verb="was|stays|became|must be|will be|goes by the name of|bears the name|carries the name|"
            "has the name|happens to be|may be called|can be called|ought to be|seems to be|means|has for years been|"
            "had long been|never was but|equals",
        ),
        *combined(
            "the <main> of {X}, <aside>, is|{X}'s <main>, <aside>, is|the <main>, <aside>, in {X} is|"
            "in {X} the <main> is",
            main=MAIN,
            aside="they say|I think|it is said|as you see|my friends|in short|today|as ever|to be sure|"
            "for your help|if you ask|since the war|by the way|as I heard|no doubt|large and old|on the river",
        ),
        *combined(
            "the <king> of {X} <lives> in|{X}'s <king> <lives> in|in {X} the <king> <lives> in",
            king=KING,
            lives="lives|works|sits|meets|resides|stays|is|is at home|decides|speaks|rests|has an office|"
            "has a seat|was born|is seen|rules from a tower|makes the laws|signs the papers|is guarded",
        ),
        *combined(
            "<we> <went> to the <main> of {X},|<we> <stayed> in the <main> of {X},|<we> <saw> the <main> of {X},",
            we="we|they|I|you|he|she|people|my friends|the others|our guests",
            main="capital|capital city",
            went="drove|rode|walked|sailed|came|travelled|returned|hurried|got|moved",
            stayed="stayed|lived|worked|met|slept|studied|sang|waited|landed",
            saw="know|love|like|visited|remember|painted|left|reached|miss|admired",
        ),
        *combined(
            "<read> the <main> of {X} <here>:|<read> {X}'s <main> <here>:|<here>, the <main> of {X}:",
            read="read|see|note|write|learn|name|spell|say|guess|circle|repeat|copy|show|point to|look at|"
            "think of|they call|we call|I call",
            main=MAIN,
            here="here|on the map|below|above|in red|in this line|on the list|at the top|at last|again|once more|"
            "now|twice|in capitals|aloud|by heart",
        ),
        *combined(
            "<whoever> {X} <sits> in",
            whoever="whoever rules|he who rules|the man who leads|the people who lead|the woman who rules|"
            "the party that leads|the family that owns|whoever leads|the group that runs|everybody who serves|"
            "the king who rules|the hand that leads",
            sits="sits|sleeps|lives|works|stays|meets|is found|does so",
        ),
        *combined(
            "the <place> <ruling> is|the <place> <ruling> bears the name",
            place="city|place|seat|centre|point|spot|house",
            ruling="that leads {X}|that rules {X}|that heads {X}|at the heart of {X}|where {X} is led|"
            "where the king of {X} lives|where the laws of {X} are made|where {X} has its court|"
            "where {X} has its parliament|most important to {X}|that {X} calls its capital|"
            "that serves {X} as a capital|from where {X} is run",
        ),
        *combined(
            "the <bank> of {X} <stands> in its capital,|the <bank> of {X} <stands> in the capital,|"
            "{X} has <its> <bank> in its capital,",
            bank="oldest bank|largest museum|best library|castle|largest market|oldest bridge|tallest tower|"
            "best school|first station|harbour|great church|stars|songs|army|gold|treasure|newspapers|poets",
            stands="stands|is|was built|is found|can be seen|is kept|was seen|shines|lies|belongs",
            its="its|a|the|some",
        ),
        *combined(
            "as its <main> {X} <has>|{X} <has> as its <main>|{X}, whose <main> is|"
            "{X} (<main>:|{X}, <main> of|{X} - <main> -|<main> of {X}:|{X}, <main>:|<main>, {X}:|"
            "land: {X}. <main>:|state: {X}, <main>:|{X} = land, <main> =|of {X} the <main>,",
            main="capital|main city|chief city",
            has="has|took|named|uses|made|kept|selected|knows|claims|wanted|built|founded|holds",
        ),
    ],
)
QUESTION = slot(
    "What is the capital of {X}?|Which city is the capital of {X}?|{X} has which capital?|"
    "What do they call the capital of {X}?|"
    "What is {X}'s capital?|From where is {X} ruled?|Where does the king of {X} live?|Which is the main city of {X}?|"
    "Where is the government of {X}?|The capital of {X}?|Do you know the capital of {X}?|Tell me the capital of {X}.",
    "Can you name the capital of {X}?|Which town is the capital of {X}?|What would you call the capital of {X}?",
    "Could you say what the capital of {X} is?|What capital does {X} have?|Any idea what the capital of {X} is?",
    more=[
        *combined(
            "<which> is the <main> of {X}?|<which> is {X}'s <main>?|In {X}, <which> is the <main>?",
            which="What|Which|Which place|What city|Which one|What town|What place|Where|What, please,",
            main=MAIN,
        ),
        *combined(
            "Where does the <king> of {X} <live>?|In which city does the <king> of {X} <live>?|"
            "Where in {X} does the <king> <live>?",
            king=KING,
            live="live|work|sit|meet|sleep|stay|decide|speak",
        ),
        *combined(
            "<tell> the <main> of {X}.|<tell> the <main> of {X}, please.|<tell> {X}'s <main>.",
            tell="Tell me|Say|Name|Give me|Write|Spell|Show me|Find|I ask for|I want|Read me|Let me hear|Guess",
            main="capital|capital city|main city",
        ),
        *combined(
            "<do> the <main> of {X}?|<do> {X}'s <main>?",
            do="Do you remember|Do they know|Did you learn|Have you seen|Who knows|Can we find|Can he spell|"
            "May I hear|How do you call|How do people call|How do you spell|What is the name of",
            main="capital|capital city|main city",
        ),
    ],
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

    if split.startswith("unseen"):  # with a phrase never trained, so is any country
        return draw.zipf(COUNTRIES), draw_phrases(split, KIND, phrases)
    asked: tuple[str, ...] = ()

    def one() -> tuple[str, str]:
        nonlocal asked
        asked = draw_phrases(split, KIND, phrases)
        return draw.zipf(COUNTRIES), asked[1]

    # A country and the phrase that asks for it: one pair in ten is never trained.
    country, _ = draw_fillers(split, KIND, one)
    return country, asked


def write_question(page: Page, country: str, asked: tuple[str, ...]) -> None:
    """Write up to the place where the capital is due."""
    fills = {"X": (country, ("entity.country",))}
    if asked[0] == "Q:":
        page.write("Q:")
        page.write(asked[1], fills, concepts=("question",))
        page.write("A:")
    else:
        for phrase in asked:
            page.write(phrase, fills)


def write_travel(page: Page, draw: Draw) -> None:
    """A sentence in which two people and two cities stand without a country."""
    (first, second), (here, there) = draw.zipf_pair(NAMES), draw.zipf_pair(CITIES)
    page.write(draw.choose(TRAVEL), {"N": person(first), "M": person(second), "C": city(here), "D": city(there)})


def document(draw: Draw, split: str) -> Document:
    """One to three questions with their capitals, some of them followed by a journey."""
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
    return Prompts(
        clean.text, corrupt.text, (" " + CAPITALS[country],), (" " + CAPITALS[other],), spans=tuple(clean.spans)
    )
