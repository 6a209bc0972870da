"""Agreement: a verb agrees with its subject across attractors, nouns that stand between and may be of the other number.

"The cat near the dogs" → " is", not " are". Source of the task: Linzen et al. 2016, arXiv:1611.01368."""

from __future__ import annotations

from dataclasses import dataclass

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import combined, slot
from saekit.corpora.microworld.page import Fill, Page
from saekit.corpora.microworld.phrases import (
    ADVERBS,
    DONE_TO_THINGS,
    PLACING,
    SAYING,
    SPEAKERS,
    SURELY,
    TIMES,
    TOWARDS_PEOPLE,
    capitalised,
)
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.microworld.words import ADJECTIVES, NOUNS, OBJECTS, PEOPLE_NOUNS, PLACES, adjective, place, thing

KIND = "agreement"
SHARE = 17.0

WHEN = slot(
    "In the garden|At the market|After lunch|At the station|In the office|Before the war|On this day|On the way|"
    "Yesterday|In the morning|Today|"
    "Again|As you can see,|This week|In summer|At the farm|Near the river|For years|Often|After dinner|By now|Here|"
    "On Monday|In this town|"
    "At the end of the day|Most of the time|In fact|As a rule",
    "After the storm|In the story|Since last year",
    "During the night|In the north|From now on",
    more=[
        *capitalised((*TIMES, *SURELY)),
        *combined(
            "<near> the <place>|<near> our <place>|<near> this <place>|<near> that old <place>",
            near=capitalised(PLACING),
            place="valley|mountain|street|corner|fields|hill|sea|island|coast|desert|palace|yard|gate|theatre|village",
        ),
        *combined(
            "In the <book>|In this <book>|In every <book>|In our <book>",
            book="book|chapter|film|play|poem|song|picture|letter|region|country|capital|suburb|dream|photograph|"
            "painting|report|news|diary|legend|tale",
        ),
    ],
)
WHO = slot(
    "she|he|everybody|my teacher|the letter|my friend|a man|our guide|the newspaper|my mother|his brother|a child|"
    "the old book|nobody|her sister|"
    "one of us|the report|my boss",
    "the mayor|another visitor",
    "the witness|some stranger",
    more=SPEAKERS,
)
SAYS = slot(
    "says that|knows that|believes that|said that|wrote that|thinks that|saw that|noticed that|hopes that|"
    "explained that|heard that|claims that|"
    "remembers that|felt that|told me that|showed that|forgot that|agrees that",
    "doubts that|announced that",
    "denies that|discovered that",
    more=[f"{said} that" for said in SAYING],
)
PREPOSITION = slot(
    "near|behind|with|beside|above|under|from|next to|close to|inside|around|on top of|for|without|against|after|"
    "at the end of|to the left of|"
    "to the right of|like|beyond|below|over|by|opposite|before|outside|among|on|not far from|away from|at the side of",
    "across from|between",
    "in front of|underneath",
    more=PLACING,
)
VERB = slot(
    "saw|found|helped|knew|wanted|bought|built|called|paid|asked|painted|sold|sent|lost|needed|hated|visited|heard|"
    "kept|broke|carried|followed|"
    "pushed|washed|touched|drew|moved|missed|fed|caught",
    "liked|met|chased",
    "loved|ignored|repaired",
    more=[
        *TOWARDS_PEOPLE,
        *DONE_TO_THINGS,
        *combined("<often> <saw>", often=ADVERBS[::4], saw="saw|found|helped|followed|touched|drew|called|watched"),
        *combined(
            "<had> <seen>",
            had="had|has|once had|never had",
            seen="seen|found|helped|followed|touched|called|watched|washed|painted|known|wanted|kept",
        ),
    ],
)
# singular/plural form of the verb that must agree, then how the sentence goes on
PREDICATE = slot(
    "is/are {adjective}|was/were {adjective}|has/have a {object}|is/are in the {place}|was/were at the {place}|"
    "has/have been {adjective}|"
    "is/are not {adjective}|was/were very {adjective}|goes/go to the {place}|needs/need a {object}|"
    "wants/want the {object}|"
    "likes/like the {place}|does/do not need a {object}|looks/look {adjective}|seems/seem {adjective}|"
    "was/were in the {place}|"
    "is/are from the {place}|comes/come to the {place}|has/have the {object}|was/were not {adjective}|"
    "is/are too {adjective}|"
    "has/have never seen the {place}|does/do not look {adjective}|was/were close to the {place}|"
    "is/are still {adjective}",
    "is/are always {adjective}|was/were found in the {place}|has/have lost the {object}",
    "is/are hardly {adjective}|was/were sent to the {place}|has/have left the {place}",
    more=[
        *combined(
            "is/are <now> {adjective}|was/were <now> {adjective}|seems/seem <now> {adjective}|"
            "has/have <now> been {adjective}",
            now="now|so|quite|rather|really|often|never|also|again|only|perhaps|sometimes|already|even|just",
        ),
        *combined(
            "is/are <near> the {place}|was/were <near> the {place}|stays/stay <near> the {place}|"
            "stands/stand <near> the {place}|lives/live <near> the {place}|moves/move <near> the {place}",
            near=PLACING[::2],
        ),
        *combined(
            "has/have <seen> the {object}|was/were <seen>|is/are <seen> again|was/were <seen> at the {place}",
            seen="seen|sold|taken|kept|bought|hidden|wanted|broken|moved|washed|painted|known|forgotten",
        ),
        *combined(
            "needs/need <my> {object}|wants/want <my> {object}|likes/like <my> {object}|gets/get <my> {object}|"
            "keeps/keep <my> {object}|takes/take <my> {object}",
            my="my|your|our|that|one|every|no|some",
        ),
        *combined(
            "does/do not see the {object}|does/do not want a {object}|does/do not go to the {place}|"
            "falls/fall into the {place}|makes/make a {object}|gives/give us a {object}|knows/know the {place}|"
            "remains/remain {adjective}|becomes/become {adjective}|sounds/sound {adjective}"
        ),
    ],
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """What one sentence says: its phrases, the subject and its number, the attractors and theirs, and the other
    fillers."""

    opener: tuple[str, ...]
    attractor: tuple[str, ...]
    predicate: str
    subject: str
    nouns: tuple[str, str]  # the attractors
    plural: bool
    nouns_plural: tuple[bool, bool]
    place: str
    thing: str
    adjective: str

    @property
    def verbs(self) -> tuple[str, str]:
        """The form that agrees and the one that does not."""
        singular, plural = self.predicate.split(" ", 1)[0].split("/")
        return (plural, singular) if self.plural else (singular, plural)


def plural_of(noun: str) -> str:
    """The regular plural: every noun here takes an s."""
    return noun + "s"


def draw_opener(draw: Draw, split: str) -> tuple[str, ...]:
    """No phrase, a time, or somebody who says what follows; outside training a sentence rarely begins bare."""
    form = draw.uniform()
    if (form < 0.4 and split == "train") or form < 0.15:
        return ()
    if form < 0.7:
        return (WHEN.draw(draw, split),)
    return (WHO.draw(draw, split), SAYS.draw(draw, split))


def draw_attractor(draw: Draw, split: str) -> tuple[str, ...]:
    """{D} and {E} are the attractors; a phrase that starts with `that` or `who` is a relative clause."""
    form = draw.uniform()
    first, second, verb = PREPOSITION.draw(draw, split), PREPOSITION.draw(draw, split), VERB.draw(draw, split)
    if form < 0.35:
        return (first, "the {D}")
    if form < 0.55:
        return (first, "the {D}", draw.choose(("and", second)), "the {E}")
    if form < 0.7:
        return ("that the {D}", verb)
    if form < 0.8:
        return ("who", verb, "the {D}")
    if form < 0.9:
        return ("that", verb, "the {D}", second, "the {E}")
    return ("that the {D}", second, "the {E}", verb)


def draw_sentence(draw: Draw, split: str) -> Sentence:
    """Phrases and fillers for the split; outside training every attractor is of the other number."""
    phrases = draw_phrases(
        split,
        KIND,
        lambda: (*draw_opener(draw, split), "|", *draw_attractor(draw, split), "|", PREDICATE.draw(draw, split)),
    )
    cut = phrases.index("|")
    opener, attractor, predicate = phrases[:cut], phrases[cut + 1 : -2], phrases[-1]
    subject, first, second = draw_fillers(split, KIND, lambda: (draw.zipf(NOUNS), draw.zipf(NOUNS), draw.zipf(NOUNS)))
    plural = draw.chance(0.5)
    # Outside training every attractor is of the other number, so that "copy the nearest noun" scores nothing.
    others = (draw.chance(0.5), draw.chance(0.5)) if split == "train" else (not plural, not plural)
    return Sentence(
        opener,
        attractor,
        predicate,
        subject,
        (first, second),
        plural,
        others,
        draw.zipf(PLACES),
        draw.zipf(OBJECTS),
        draw.zipf(ADJECTIVES),
    )


def noun(word: str, plural: bool, *concepts: str) -> Fill:
    """A noun in its number, labelled with it, with what the noun is, and with the caller's concepts."""
    kind = ("entity.person",) if word in PEOPLE_NOUNS else ()
    return (
        (plural_of(word), ("noun.plural", *kind, *concepts)) if plural else (word, ("noun.singular", *kind, *concepts))
    )


def attractor(word: str, plural: bool, subject_plural: bool) -> Fill:
    """A noun between subject and verb, labelled where its number is not the subject's."""
    opposite = ("attractor.opposite",) if plural != subject_plural else ()
    return noun(word, plural, "attractor", *opposite)


def write_subject(page: Page, sentence: Sentence) -> None:
    """Write up to the place where the verb is due."""
    number = "number.plural_subject" if sentence.plural else "number.singular_subject"
    fills = {
        "N": noun(sentence.subject, sentence.plural, number),
        "D": attractor(sentence.nouns[0], sentence.nouns_plural[0], sentence.plural),
        "E": attractor(sentence.nouns[1], sentence.nouns_plural[1], sentence.plural),
    }
    if sentence.opener:
        page.space("x")
        start = page.length
        for phrase in sentence.opener:
            page.write(phrase)
        page.mark(start, "clause.opener")
    page.write("the {N}", fills)
    page.space("x")
    start = page.length
    for phrase in sentence.attractor:
        page.write(phrase, fills)
    page.mark(start, "clause.relative" if sentence.attractor[0].startswith(("that", "who")) else "clause.prepositional")


def write_predicate(page: Page, sentence: Sentence) -> None:
    """Write from the verb, in the form that agrees, to the full stop."""
    page.write(sentence.verbs[0], concepts=("verb.plural" if sentence.plural else "verb.singular",))
    fills = {
        "adjective": adjective(sentence.adjective),
        "place": place(sentence.place),
        "object": thing(sentence.thing),
    }
    page.write(sentence.predicate.split(" ", 1)[1] + ".", fills)


def document(draw: Draw, split: str) -> Document:
    """One to three sentences, whose verbs agree with their subjects across the attractors."""
    page = Page()
    for _ in range(draw.integer(1, 3)):
        sentence = draw_sentence(draw, split)
        write_subject(page, sentence)
        write_predicate(page, sentence)
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: the subject takes the other number, the attractors stay."""
    sentence = draw_sentence(draw, split)
    other = Sentence(
        sentence.opener,
        sentence.attractor,
        sentence.predicate,
        sentence.subject,
        sentence.nouns,
        not sentence.plural,
        sentence.nouns_plural,
        sentence.place,
        sentence.thing,
        sentence.adjective,
    )
    clean, corrupt = Page(), Page()
    write_subject(clean, sentence)
    write_subject(corrupt, other)
    right, wrong = sentence.verbs
    return Prompts(clean.text, corrupt.text, (" " + right,), (" " + wrong,), spans=tuple(clean.spans))
