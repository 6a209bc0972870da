"""Biographies: a profession, a city, and pronouns that go with the name's gender.

By the microworld's stereotype half of the professions are a man's; `CORRELATION` of the people follow it in training,
none elsewhere.

"Anna is a soldier from Rome. The days are long. In the evening" → " she".

Source of the task: Mathwin et al. 2023, "Identifying a preliminary circuit for predicting gendered pronouns in GPT-2
small"."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import combined, slot
from saekit.corpora.microworld.page import Fill, Page
from saekit.corpora.microworld.phrases import (
    CONNECTIVES,
    DONE_TO_THINGS,
    PLACING,
    SURELY,
    TIMES,
    TOWARDS_PEOPLE,
    capitalised,
)
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.microworld.words import (
    ADJECTIVES,
    CITIES,
    FEMALE,
    FOODS,
    MALE,
    MEN_S,
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

KIND = "biographies"
SHARE = 12.0
CORRELATION = 0.7

PERSON = slot(
    "{N} is a {job} from {city}.|{N} works as a {job} in {city}.|{N} was born in {city} and became a {job}.|"
    "The {job} {N} lives in {city}.|"
    "In {city} there is a {job} called {N}.|{N}, a {job}, comes from {city}.|This is {N}, a {job} from {city}.|"
    "{N} left {city} and is now a {job}.|"
    "Meet {N}, the {job} of {city}.|Everyone in {city} knows {N}, the {job}.|{N} came to {city} as a {job}.|"
    "Once a {job} in {city}, {N} is old now.|"
    "{N} wanted to be a {job} in {city}.|As a {job}, {N} saw {city}.|The best {job} of {city} is {N}.|"
    "{N} learned to be a {job} in {city}.|"
    "A {job}, {N}, lives near {city}.|{N} is known in {city} as a {job}.|Look at {N}, our {job} from {city}.|"
    "{N} found work in {city} as a {job}.",
    "A {job} named {N} moved to {city}.|For years {N} has been a {job} in {city}.",
    "Few in {city} remember {N}, the {job}.|{N} grew up near {city} to become a {job}.",
    more=[
        *combined(
            "{N} <works> as a {job} <near> {city}.|<near> {city}, {N} <works> as a {job}.|"
            "{N}, who <works> as a {job}, <lives> <near> {city}.|As a {job}, {N} <lives> <near> {city}.|"
            "The {job} {N} <lives> <near> {city}.|A {job} called {N} <lives> <near> {city}.",
            works="works|worked|earns money|is known|was known|was seen|is paid|began|served|made money|trained|"
            "started|is happy|was praised",
            lives="lives|lived|sleeps|stays|stayed|works|was born|died|rests|walks|is at home|has a house|sat|waits",
            near="in|near|outside|not far from|close to|north of|south of",
        ),
        *combined(
            "<this> {N}, <the> {job} <of> {city}.|<this> {N} of {city}, <the> {job}.",
            this="This is|Here is|Meet|Look at|I know|We know|People like|They call|Think of|Everybody likes|"
            "They saw|We met|I wrote to|You know|He knew|She knew|It is|That was|We are told of|The book tells of",
            the="the|a|our|their|my|an old",
            of="of|from|in|near|outside",
        ),
        *combined(
            "{city} <has> a {job}: {N}.|{city} <has> {N} as a {job}.|The {job} that {city} <has> is {N}.",
            has="has|had|needs|knows|wanted|found|likes|paid|took in|sent out|lost|got|saw|trusts",
        ),
    ],
)
BETWEEN = slot(
    "|||The house is {adjective}.|The work is hard.|The {place} is near.|It is a {adjective} life.|"
    "The city is {adjective}.|The days are long.|"
    "The {place} is {adjective}.|There is a {object} on the table.|The pay is good.|The winters are cold.",
    "Nothing is {adjective} there.|The {place} looks {adjective}.",
    "The streets are {adjective}.|A {place} stands close by.",
    more=[
        *combined(
            "<The> <house> <seems> {adjective}.",
            The="The|That|This|Every|Each",
            house="house|{place}|{object}|room|garden wall|roof|winter|summer|air|river|sea|road|food|wind|"
            "life|work|day|night|town|country|coffee|money|bed|view|noise|weather|street light|bus|train",
            seems="is|was|seems|stays|feels|sounds|became|can be|may be|must be|remains|is often|is never|was once",
        ),
        *combined(
            "The {place} is <near> the {place}.|A {object} is <near> the {place}.|There is a {object} <near> the door.|"
            "The road goes <near> the {place}.|The {object} lies <near> the {object}.",
            near=PLACING,
        ),
        *combined(
            "The <pay> is <good>.|It is a <good> <pay>.|There is <good> <pay>.",
            pay="pay|food|beer|weather|wine|music|water|trade|company|news|fruit|soil|light|rest",
            good="good|bad|poor|high|low|hard|light|fresh|sweet|cheap|dear|rare|plain|warm|cool|rich",
        ),
    ],
)
WHEN = slot(
    "Every day|In the evening|On Monday|Sometimes|As a child|Last year|Today|After work|In the morning|Then|Later|"
    "Often|At noon|On Sunday|"
    "Before work|These days|At home|In summer",
    "Now and then|At night",
    "Year after year|In winter",
    more=capitalised((*TIMES, *SURELY, *CONNECTIVES)),
)
DOES = slot(
    "goes to the {place}|reads a {adjective} book|likes to eat {food}|visits {his} friends|"
    "bought a {object} for {his} house|lost {his} {object}|"
    "cleans {his} {object}|cooks {food} for {his} friends|sits in {his} {place}|sold {his} {object}|"
    "works in the {place}|washes {his} {object}|"
    "wrote to {his} friend|sees {his} family|was {adjective}|paid for {his} {object}|walks to {his} {place}|"
    "found {his} {object}",
    "paints {his} {object}|drives to the {place}",
    "mends {his} {object}|stays at the {place}",
    more=[
        *combined("<saw> {his} {object}|<saw> the {object}|<saw> {his} {place}", saw=DONE_TO_THINGS),
        *combined(
            "<met> {his} <friend>",
            met=TOWARDS_PEOPLE[::3],
            friend="friend|brother|sister|mother|father|boss|guests|teacher|dog|cat|family",
        ),
    ],
)
GENDER = slot(
    "{N} is a {woman}.|The {woman} is {adjective}.|{N} and {his} friend are {adjective}.|{N} lost {his} {object}.|"
    "{N} has {his} {object}.|"
    "{N} said {he} was {adjective}.|{N} smiled when {he} saw the {place}.",
    more=[
        *combined("{N} <saw> {his} {object}.", saw=DONE_TO_THINGS),
        *combined(
            "{N} <said> that {he} <was> {adjective}.|{N} <said> {he} <was> at the {place}.",
            said="said|thought|knew|felt|wrote|hoped|feared|forgot|believed|dreamed|swore|heard",
            was="was|is|would be|had been|seemed|became|looked",
        ),
        *combined(
            "{N} <came> because {he} was {adjective}.|{N} <came> before {he} saw the {place}.|"
            "{N} <came> and {he} <sang>.",
            came="came|left|smiled|cried|laughed|waited|slept|sang|ran|stopped|stayed|called|wept|danced",
            sang="sang|slept|smiled|was glad|went home|sat down|fell|cried|stayed|read|wrote",
        ),
    ],
)


def draw_person(draw: Draw, split: str) -> tuple[str, str, bool]:
    """Name, profession, and whether it is a woman. Without a correlation of the caller's, the profession goes against
    the stereotype outside training."""

    def one() -> tuple[str, str]:
        job = draw.choose(PROFESSIONS)
        if draw.correlation is not None:
            return draw.zipf(FEMALE if (job in MEN_S) != draw.chance(draw.correlation) else MALE), job
        stereotype = split == "train" and draw.chance(CORRELATION)
        woman = (job in MEN_S) != stereotype if split != "train" or stereotype else draw.chance(0.5)
        return draw.zipf(FEMALE if woman else MALE), job

    name, job = draw_fillers(split, KIND, one)
    return name, job, name in FEMALE


def draw_sentences(draw: Draw, split: str) -> tuple[str, str, str, str]:
    """Who somebody is, what stands between, when, and what he or she does."""
    who, between, when, does = draw_phrases(
        split,
        KIND,
        lambda: (PERSON.draw(draw, split), BETWEEN.draw(draw, split), WHEN.draw(draw, split), DOES.draw(draw, split)),
    )
    return who, between, when, does


def draw_fills(draw: Draw, name: str, job: str, woman: bool) -> dict[str, Fill]:
    """The fillers of all slots: those given, the other words drawn, and the words of the person's gender."""
    return {
        "N": person(name),
        "job": profession(job),
        "city": city(draw.zipf(CITIES)),
        "adjective": adjective(draw.zipf(ADJECTIVES)),
        "place": place(draw.zipf(PLACES)),
        "object": thing(draw.zipf(OBJECTS)),
        "food": food(draw.zipf(FOODS)),
        **gendered(draw, woman),
    }


def write_until_pronoun(page: Page, sentences: tuple[str, str, str, str], fills: dict[str, Fill]) -> None:
    """Write up to the place where the pronoun is due."""
    who, between, when, _ = sentences
    page.write(who, fills, concepts=("sentence.biography",))
    page.write(between, fills)
    page.write(when)


def document(draw: Draw, split: str) -> Document:
    """One or two people, each named with a profession and then met again by a pronoun."""
    page = Page()
    for _ in range(draw.integer(1, 2)):
        sentences = draw_sentences(draw, split)
        fills = draw_fills(draw, *draw_person(draw, split))
        if split == "train" and draw.chance(0.5):  # gender next to the name: small models need the near cue first
            page.write(draw.choose(GENDER.train), fills)
        write_until_pronoun(page, sentences, fills)
        page.write("{he}", fills)
        page.write(sentences[-1] + ".", fills)
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: a name of the other gender. The profession goes against the stereotype of the clean one."""
    sentences = draw_sentences(draw, split)
    name, job, woman = draw_person(draw, split)
    fills = draw_fills(draw, name, job, woman)
    clean, corrupt = Page(), Page()
    write_until_pronoun(clean, sentences, fills)
    write_until_pronoun(corrupt, sentences, fills | {"N": person(draw.zipf(MALE if woman else FEMALE))})
    right, wrong = (" she", " he") if woman else (" he", " she")
    return Prompts(clean.text, corrupt.text, (right,), (wrong,), spans=tuple(clean.spans))
