"""Narration: people who do things, one after the other, with pronouns close to the name they stand for."""

from __future__ import annotations

from functools import partial

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import Slot, combined, slot
from saekit.corpora.microworld.page import Fill, Page
from saekit.corpora.microworld.phrases import CONNECTIVES, DONE_TO_THINGS, SURELY, TIMES, TOWARDS_PEOPLE, capitalised
from saekit.corpora.microworld.words import (
    ADJECTIVES,
    CITIES,
    FEMALE_SET,
    FOODS,
    NAMES,
    NOUNS,
    OBJECTS,
    PLACES,
    PROFESSIONS,
    adjective,
    city,
    food,
    gendered,
    person,
    place,
    profession,
    thing,
)

KIND = "narration"
SHARE = 10.0

WHEN = slot(
    "|||In the morning|Every day|At noon|Much later|Yesterday|On the way|As I said,|That is why|Nobody knows why|"
    "After lunch|On Friday|Before dinner|Last month|One evening|Early in the day|From time to time|In April|"
    "Not long ago|At first|In the afternoon|This time|After the rain|On a cold day|All day",
    "For some reason|During the holidays",
    "With a smile|In the spring",
    more=capitalised((*TIMES, *SURELY, *CONNECTIVES)),
)
ACTION = slot(
    "walked to the {place}|looked for a {object}|was {adjective} all day|had a {adjective} {object}|"
    "waited near the {place}|talked to {M} about the {object}|wrote to {M}|paid for the {object}|"
    "sat in front of the {place}|liked the {adjective} {noun}|saw the {noun} again|thought of {M} and smiled|"
    "went from {city} to {town}|slept in the {place}|asked {M} for a {object}|came home from the {place}|"
    "put the {object} on the table|sang for {M}|learned to ride|bought a {object} in {city}|"
    "closed the {place} at night|carried the {object} to the {place}|did not find the {noun}|ate with {M}",
    "played with the {noun}|drove from {city} to {town}|opened the {object} with care",
    "built a {place} with {M}|had to return to {city}|made a {object} out of wood",
    more=[
        *combined("<saw> the {object}|<saw> a {adjective} {object}", saw=DONE_TO_THINGS),
        *combined("<met> {M}|<met> {M} at the {place}|<met> the {noun}", met=TOWARDS_PEOPLE),
        *combined(
            "<ate> {food}|<ate> {food} for <dinner>|<ate> {food} and {meal}|had {food} for <dinner>|"
            "made a <dinner> of {food}|shared a <dinner> of {food} with {M}|said: the <dinner> is {food}",
            ate="ate|cooked|bought|chose|took|ordered|enjoyed|preferred|liked|wanted|asked for|served|sold|brought|"
            "tasted|finished",
            dinner="dinner|lunch|supper|breakfast|a meal|the guests|the party|tea",
        ),
        *combined(
            "<lives> in {city}|<lives> in the town of {city}|<lives> near {city} in a <place>",
            lives="lives|dwells|settled|stayed|met {M}|saw {M}|was to be found|had a house|found a room|has a home|"
            "belongs to a family|lost the way|got off the train",
            place="town|village|house|street|small place|flat|hut|tower",
        ),
        *combined(
            "<works> as a {job}|<works> all day as a {job}|<works> to be a {job}",
            works="works|acts|serves|makes a living|lives|found work|spends the day|is needed|was employed|"
            "goes through life|started",
        ),
    ],
)
GENDERED = slot(
    "is a {woman}|and {his} friend left|is a {adjective} {woman}|lost {his} way because {he} was {adjective}|"
    "and {his} {noun} sat down|had {his} {object}, {he} said|is late: {he} is at the {place}|lost {his} {object}|"
    "said that {he} was {adjective}|found {his} {object} near the {place}|went home because {he} was {adjective}|"
    "thinks that {he} has a {object}|gave {his} {object} to the {noun}|looked at {his} {object}|"
    "smiled when {he} saw the {place}|took {his} {object} and left|knew what {he} wanted|forgot {his} {object}|"
    "called {his} brother|told {his} sister|hoped {he} would see the {place}|showed {M} {his} {object}|"
    "sold {his} {object} before {he} left|washed {his} hands|was happy that {he} came",
    "wondered where {his} {object} was|dropped {his} {object} when {he} fell",
    "kept {his} {object} where {he} slept|shut {his} eyes because {he} was {adjective}",
    more=[
        *combined("<saw> {his} {object}|<saw> {his} {object} and {he} left", saw=DONE_TO_THINGS),
        *combined("and {his} <friend> <met> {M}", friend="friend|brother|sister|mother|uncle", met=TOWARDS_PEOPLE[::4]),
        *combined(
            "<said> that {he} <was> {adjective}|<said> {he} <was> at the {place}|<said> that {he} <met> {M}",
            said="said|thought|knew|felt|wrote|hoped|feared|forgot|believed|dreamed|swore|heard|agreed|denied",
            was="was|is|would be|had been|seemed|became|looked|felt",
            met="met|saw|knew|liked|missed|called|helped|would see|had seen|feared",
        ),
        *combined(
            "<came>. <When> {he} <sang>|<came> and {he} <sang>|<came> before {he} <sang>",
            came="came|left|smiled|cried|laughed|waited|slept|ran|stopped|stayed|called|wept|danced",
            When=capitalised(TIMES[::25]),
            sang="sang|slept|smiled|was glad|went home|sat down|fell|cried|stayed|read|wrote",
        ),
    ],
)


def draw_fills(draw: Draw, split: str) -> dict[str, Fill]:
    """The fillers of all slots, the two names for the split."""
    name, other = draw_fillers(split, KIND, lambda: draw.zipf_pair(NAMES))
    here, there = draw.zipf_pair(CITIES)
    return {
        "N": person(name, "role.subject"),
        "M": person(other),
        "place": place(draw.zipf(PLACES)),
        "object": thing(draw.zipf(OBJECTS)),
        "adjective": adjective(draw.zipf(ADJECTIVES)),
        "noun": (draw.zipf(NOUNS), ("noun.singular",)),
        "job": profession(draw.zipf(PROFESSIONS)),
        "food": food(draw.zipf(FOODS)),
        "meal": food(draw.zipf(FOODS)),
        "city": city(here),
        "town": city(there),
        **gendered(draw, name in FEMALE_SET),
    }


def draw_words(draw: Draw, split: str, action: Slot) -> tuple[str, ...]:
    """A time, and what somebody does then."""
    return WHEN.draw(draw, split), action.draw(draw, split)


def document(draw: Draw, split: str) -> Document:
    """One to four sentences on what somebody does, most of them with a pronoun of the person's gender."""
    page = Page()
    for _ in range(draw.integer(1, 4)):
        action = GENDERED if draw.chance(0.65) else ACTION
        when, does = draw_phrases(split, KIND, partial(draw_words, draw, split, action))
        fills = draw_fills(draw, split)
        page.write(when)
        page.write("{N} " + does + ".", fills)
    return page.document(KIND)
