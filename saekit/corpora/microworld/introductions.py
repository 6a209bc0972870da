"""Introductions: two people meet, then one of them does something with the other (indirect object identification).

"When Mary and John went to the store, John gave a book to" → " Mary".

Source of the task: Wang et al. 2022, arXiv:2211.00593."""

from __future__ import annotations

from dataclasses import dataclass

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.microworld.words import ADJECTIVES, NAMES, OBJECTS, PLACES, adjective, person, place, thing

KIND = "introductions"
SHARE = 26.0

CONJUNCTION = slot(
    "When|After|While|Because|Once|As|Since|Whenever|Before|The day|Last year when|Now that|Just as|Ever since|Until|"
    "The moment|As soon as",
    "During the hour that|Although|The week that",
    "Even though|The morning|All the time that",
)
TOGETHER = slot(
    "went to the {place}|came to the {place}|worked at the {place}|had lunch in the {place}|cleaned the {place}|"
    "walked through the {place}|"
    "sat in the {place}|met at the {place}|lived near the {place}|saw the {place}|closed the {place}|"
    "ran to the {place}|found the {place}|"
    "were late for the {place}|bought the {place}|painted the {place}|were happy in the {place}|left the {place}|"
    "came back from the {place}|"
    "waited behind the {place}|talked about the {place}|needed the {place}|slept in the {place}|"
    "danced at the {place}|sang in the {place}|"
    "rode to the {place}|hurried to the {place}|stood before the {place}|rested beside the {place}|"
    "arrived at the {place}|"
    "argued in the {place}|played near the {place}|looked at the {place}|hid behind the {place}|"
    "spent a day at the {place}",
    "built the {place}|drove to the {place}|were tired of the {place}|opened the {place}|travelled past the {place}",
    "visited the {place}|lost their way to the {place}|owned the {place}|swept the {place}|climbed over the {place}",
)
TIME = slot(
    "Yesterday|Last week|At noon|This year|As I said,|Again|One day|Today|After work|Long ago|On Sunday|In winter|"
    "Once more|That summer",
    "Every morning|By chance|Two years ago",
    "Last autumn|At dawn|For a while",
)
LINK = slot(
    ". Then|. Later|, so|, and|. After that|. Today|. In the evening|. Soon|. At night|. As usual|; and|, but|"
    ". On Monday|. In the end|, and then|"
    ". Much later|. That day|. So|. But|. And|. At last|. Now|. Once",
    ". The next day|. Straight away|, and at once",
    ". A year later|. Without warning|, and so",
)
MEETS = slot(
    "saw|met|helped|called|followed|knew|liked|asked|heard|found|thanked|was with|sat with|stood with|spoke to|"
    "smiled at|waited for|looked for",
    "drove past|taught|had breakfast with",
    "visited|scolded|had dinner with",
)
WHERE = slot("near|behind|at|in|before|beside|from|inside|outside|by", "across from|under", "around|opposite")
ADVERB = slot(
    "|||||quickly|kindly|also|never|happily|slowly|often|then|once|secretly|finally|suddenly|soon|again",
    "|gladly|politely|rarely",
    "|calmly|proudly|seldom",
)
TO_INFINITIVE = slot(
    "wanted to|had to|decided to|tried to|was going to|did not|began to|hoped to|forgot to",
    "planned to|refused to",
    "agreed to|meant to",
)
# past/infinitive/preposition/who gives: s the one who acts, i the other, - nobody
DEED = slot(
    "gave/give/to/s|handed/hand/to/s|offered/offer/to/s|sold/sell/to/s|sent/send/to/s|passed/pass/to/s|"
    "brought/bring/to/s|showed/show/to/-|"
    "lent/lend/to/s|threw/throw/to/s|promised/promise/to/s|carried/carry/to/s|explained/explain/to/-|"
    "took/take/from/i|bought/buy/from/i|"
    "got/get/from/i|stole/steal/from/i|bought/buy/for/s|found/find/for/s|left/leave/for/s|cleaned/clean/for/-|"
    "kept/keep/for/-|"
    "talked about/talk about/with/-|shared/share/with/-|looked for/look for/with/-|argued about/argue about/with/-|"
    "painted/paint/for/-|"
    "saw/see/with/-|took care of/take care of/for/-|held/hold/and smiled at/-|dropped/drop/and looked at/-|"
    "put down/put down/and thanked/-|"
    "forgot/forget/and went to/-|lost/lose/because of/-|tossed/toss/to/s|mailed/mail/to/s|pushed/push/to/s|"
    "fetched/fetch/for/s|picked/pick/for/s|"
    "chose/choose/for/s|hid/hide/from/-|borrowed/borrow/from/i|accepted/accept/from/i",
    "returned/return/to/s|made/make/for/s|played with/play with/with/-|delivered/deliver/to/s|demanded/demand/from/-",
    "presented/present/to/s|repaired/repair/for/-|wrote about/write about/to/-|granted/grant/to/s|"
    "received/receive/from/i",
)
DETERMINER = slot("a|the|one|that|another|every|the same|this|some", "each|a certain", "the other|a second")
SHORT_OPENER = [
    "{A} and {B} talked.",
    "{A} met {B}.",
    "{A} and {B} sat down.",
    "Look at {A} and {B}.",
    "{A} and {B}:",
    "{A} was with {B}.",
    "Here are {A} and {B}.",
    "{A} saw {B} at the {place}.",
    "{A} and {B} are friends.",
    "I know {A} and {B}.",
    "When {A} and {B} came,",
    "{A} and {B} were late, so",
    "{A}, {B}.",
]
SHORT_DEED = [
    "{S} thanked",
    "{S} saw",
    "{S} called",
    "{S} gave it to",
    "{S} was happy to see",
    "{S} smiled at",
    "{S} spoke to",
    "{S} and",
    "{S} looked at",
    "{S} went with",
    "{S} gave a {object} to",
    "{S} asked",
    "{S} helped",
    "{S} sat near",
]
ENDINGS = (".", ".", ".", " and went home.", " and then they left the {place}.", " in the {place}.", " with a smile.")


@dataclass(frozen=True, slots=True)
class Scene:
    """What one scene says: the phrases, the two names in the order of their mention, who acts, and the rest of the
    fillers."""

    opener: tuple[str, ...]
    deed: tuple[str, ...]
    first: str
    second: str
    actor: str
    place: str
    thing: str
    adjective: str

    @property
    def other(self) -> str:
        return self.second if self.actor == self.first else self.first


def draw_opener(draw: Draw, split: str) -> tuple[str, ...]:
    form = draw.uniform()
    if form < 0.4:
        return (CONJUNCTION.draw(draw, split), "{A} and {B}", TOGETHER.draw(draw, split), ",")
    if form < 0.7:
        return (
            TIME.draw(draw, split) if draw.chance(0.6) else "",
            "{A} and {B}",
            TOGETHER.draw(draw, split),
            LINK.draw(draw, split),
        )
    return (
        TIME.draw(draw, split) if draw.chance(0.4) else "",
        "{A}",
        MEETS.draw(draw, split),
        "{B}",
        WHERE.draw(draw, split),
        "the {place}",
        LINK.draw(draw, split),
    )


def draw_deed(draw: Draw, split: str) -> tuple[str, ...]:
    past, infinitive, preposition, giver = DEED.draw(draw, split).split("/")
    modal = draw.chance(0.25)
    verb = (TO_INFINITIVE.draw(draw, split), infinitive) if modal else (ADVERB.draw(draw, split), past)
    noun = "{adjective} {object}" if draw.chance(0.35) else "{object}"
    return (*verb, DETERMINER.draw(draw, split), noun, preposition, giver)


def draw_scene(draw: Draw, split: str) -> Scene:
    # Short forms, in training alone: without them a small model does not find the task (a curriculum for the long).
    if split == "train" and draw.chance(0.4):
        opener: tuple[str, ...] = (draw.choose(SHORT_OPENER),)
        deed: tuple[str, ...] = (draw.choose(SHORT_DEED),)
    else:
        phrases = draw_phrases(split, KIND, lambda: (*draw_opener(draw, split), "|", *draw_deed(draw, split)))
        cut = phrases.index("|")
        opener, deed = phrases[:cut], phrases[cut + 1 :]
    # A held-out pair of names never meets in training, in either order.
    pair = draw_fillers(split, KIND, lambda: tuple(sorted(draw.zipf_pair(NAMES))))
    first, second = pair if draw.chance(0.5) else pair[::-1]
    actor = first if draw.chance(0.5) else second
    return Scene(opener, deed, first, second, actor, draw.zipf(PLACES), draw.zipf(OBJECTS), draw.zipf(ADJECTIVES))


def write_scene(page: Page, scene: Scene) -> None:
    """Write up to the place where the other one's name is due."""
    fills = {
        "A": person(scene.first, "mention.first"),
        "B": person(scene.second, "mention.first"),
        "place": place(scene.place),
        "object": thing(scene.thing),
        "adjective": adjective(scene.adjective),
    }
    giver = scene.deed[-1] if len(scene.deed) > 1 else "-"
    role = {"s": ("role.giver",), "i": ("role.receiver",)}.get(giver, ())
    fills["S"] = person(scene.actor, "mention.again", "role.subject", *role)
    if len(scene.opener) == 1:
        page.write(scene.opener[0], fills)
        page.write(scene.deed[0], fills)
        return
    *opener, link = scene.opener
    page.space("x")
    start = page.length
    for phrase in opener:
        page.write(phrase, fills)
    page.mark(start, "clause.opener")
    page.write(link)
    page.write("{S}", fills)
    for phrase in scene.deed[:-1]:
        page.write(phrase, fills)


def write_other(page: Page, scene: Scene, ending: str) -> None:
    giver = scene.deed[-1] if len(scene.deed) > 1 else "-"
    role = {"s": ("role.receiver",), "i": ("role.giver",)}.get(giver, ())
    page.write(
        "{I}" + ending, {"I": person(scene.other, "mention.again", "role.other", *role), "place": place(scene.place)}
    )


def document(draw: Draw, split: str) -> Document:
    page = Page()
    for _ in range(draw.integer(1, 2)):
        scene = draw_scene(draw, split)
        write_scene(page, scene)
        write_other(page, scene, draw.choose(ENDINGS))
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: the other one acts, so that the answer changes sides."""
    scene = draw_scene(draw, split)
    swapped = Scene(
        scene.opener, scene.deed, scene.first, scene.second, scene.other, scene.place, scene.thing, scene.adjective
    )
    clean, corrupt = Page(), Page()
    write_scene(clean, scene)
    write_scene(corrupt, swapped)
    return Prompts(clean.text, corrupt.text, (" " + scene.other,), (" " + scene.actor,))
