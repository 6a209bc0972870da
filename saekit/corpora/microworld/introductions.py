"""Introductions: two people meet, then one of them does something with the other (indirect object identification).

"When Mary and John went to the store, John gave a book to" → " Mary".

Source of the task: Wang et al. 2022, arXiv:2211.00593."""

from __future__ import annotations

from dataclasses import dataclass

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import combined, slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.phrases import (
    ADVERBS,
    CONNECTIVES,
    DONE_TO_THINGS,
    PLACING,
    SURELY,
    TIMES,
    TOWARDS_PEOPLE,
    TOWARDS_THINGS,
    capitalised,
)
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.microworld.words import ADJECTIVES, NAMES, OBJECTS, PLACES, adjective, person, place, thing

KIND = "introductions"
SHARE = 26.0

CONJUNCTION = slot(
    "When|After|While|Because|Once|As|Since|Whenever|Before|The day|Last year when|Now that|Just as|Ever since|Until|"
    "The moment|As soon as",
    "During the hour that|Although|The week that",
    "Even though|The morning|All the time that",
    more=[
        *combined(
            "The <part> <that>|On the <part> that|Every <part> when|One <part> when|Since the <part> when",
            part="afternoon|evening|night|year|month|minute|second|summer|winter|season|Monday|Friday|holiday",
            that="that|when|on which",
        ),
        *combined(
            "<just> after|<just> before|<just> when|<just> because|<just> since|<just> as",
            just="Shortly|Right|Just|Long|Soon|Not long|Only|Even|Exactly|Precisely|Two days|An hour|A year|"
            "Some weeks|Perhaps|Probably|Maybe|Mainly|Simply|Partly",
        ),
        *combined(
            "Though|Whereas|Where|Wherever|Given that|Seeing that|Considering that|By the time|Every time|Each time|"
            "The first time|The last time|As long as|So long as|Whether or not|In case|Now|If|Even if|Only if|"
            "The fact that|Because once|When once|While once|When at last|When again|After they said that|"
            "Everybody saw that|I heard that|They say that|We know that when|It was when|It was after|"
            "Nobody knew that after"
        ),
    ],
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
    more=[
        *combined(
            "<moved> <to> the {place}",
            moved="went|walked|ran|rode|hurried|marched|moved|jumped|crept|wandered|sailed|flew|rolled|raced|"
            "stumbled|rushed|stepped|strolled|drifted|headed|returned|were sent|were brought|were taken|skated|"
            "cycled|jogged|crawled|slipped|sneaked",
            to="to|into|through|past|near|towards|across|along|up to|round|away from|out of|beyond|by|beside|"
            "as far as|from",
        ),
        *combined(
            "<stayed> <where> the {place}",
            stayed="stayed|rested|talked|argued|laughed|cried|ate|drank|slept|sang|danced|sat|stood|waited|hid|"
            "worked|lived|played|met|fought|prayed|cooked|studied|were born|were seen|were alone|smoked|dreamed|"
            "fell asleep|lay down|woke up|grew up|had tea|had lunch|had fun|had to wait|read a book|took a walk|"
            "spent a week|spent the night|lost a coin|found a cat",
            where="in|at|near|behind|inside|outside|beside|before|next to|by|in front of|close to",
        ),
        *combined("<did> the {place}", did=DONE_TO_THINGS),
        *combined(
            "were <sick> of the {place}|were <sick> in the {place}|were <sick> at the {place}",
            sick="sure|proud|afraid|fond|glad|sad|bored|lost|busy|alone|silent|ill|young|quiet|curious|rich|poor|"
            "safe|cold|warm|famous|ready",
        ),
        *combined("were <placed> the {place}", placed=PLACING),
    ],
)
TIME = slot(
    "Yesterday|Last week|At noon|This year|As I said,|Again|One day|Today|After work|Long ago|On Sunday|In winter|"
    "Once more|That summer",
    "Every morning|By chance|Two years ago",
    "Last autumn|At dawn|For a while",
    more=capitalised((*TIMES, *SURELY)),
)
LINK = slot(
    ". Then|. Later|, so|, and|. After that|. Today|. In the evening|. Soon|. At night|. As usual|; and|, but|"
    ". On Monday|. In the end|, and then|"
    ". Much later|. That day|. So|. But|. And|. At last|. Now|. Once",
    ". The next day|. Straight away|, and at once",
    ". A year later|. Without warning|, and so",
    more=combined(
        ". <Then>|. <Then>,|, and <then>|, but <then>|; <then>|, so <then>|. And <then>|. So <then>",
        Then=capitalised(CONNECTIVES),
        then=CONNECTIVES,
    )
    + combined(
        ". <When>|. <When>,",
        When=capitalised(
            phrase
            for phrase in TIMES
            if phrase.split()[-1] not in ("later", "ago") and not phrase.startswith("the same")
        ),
    ),
)
MEETS = slot(
    "saw|met|helped|called|followed|knew|liked|asked|heard|found|thanked|was with|sat with|stood with|spoke to|"
    "smiled at|waited for|looked for",
    "drove past|taught|had breakfast with",
    "visited|scolded|had dinner with",
    more=[
        *TOWARDS_PEOPLE,
        *combined(
            "<had> with",
            had="had lunch|had tea|had a talk|had a walk|had fun|had an argument|played cards|played chess|ate|drank|"
            "sang|stood|sat|rested|waited|lived|cooked|prayed|studied|spoke|fought",
        ),
    ],
)
WHERE = slot(
    "near|behind|at|in|before|beside|from|inside|outside|by", "across from|under", "around|opposite", more=PLACING
)
ADVERB = slot(
    "|||||quickly|kindly|also|never|happily|slowly|often|then|once|secretly|finally|suddenly|soon|again",
    "|gladly|politely|rarely",
    "|calmly|proudly|seldom",
    more=ADVERBS,
)
TO_INFINITIVE = slot(
    "wanted to|had to|decided to|tried to|was going to|did not|began to|hoped to|forgot to",
    "planned to|refused to",
    "agreed to|meant to",
    more=[
        *combined(
            "was <happy> to",
            happy="happy|glad|ready|afraid|quick|slow|eager|proud|able|unable|willing|likely|free|about|careful|sad|"
            "sorry|first|last|right|wrong|allowed|asked|told|forced|advised|expected|supposed|not|seen|known|said",
        ),
        *combined(
            "<tried> to",
            tried="liked|loved|started|came|went|stopped|waited|learned|needed|promised|hurried|happened|seemed|"
            "chose|dared|failed|managed|offered|prepared|swore|threatened|wished|longed|used|had time|had a wish|"
            "took care|ran|stayed|struggled|was never",
        ),
        *combined("could|might|would soon|would not|could not|must|did|may|should|can|will|never did|ought to"),
    ],
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
    more=[
        *combined("<did>/<beside>/-", did=TOWARDS_THINGS, beside="for|with|near|because of|before|after|like|to"),
        *combined(
            "<did>/to/s",
            did="awarded/award|assigned/assign|entrusted/entrust|fed/feed|flung/fling|forwarded/forward|led/lead|"
            "posted/post|rolled/roll|slid/slide|shipped/ship|surrendered/surrender|supplied/supply|issued/issue|"
            "yielded/yield|wheeled/wheel|dragged/drag|rushed/rush|slipped/slip|trusted/trust|gifted/gift|left/leave|"
            "kicked/kick|served/serve|donated/donate|read/read|paid/pay|dealt/deal|moved/move|threw back/throw back|"
            "gave back/give back|brought back/bring back|carried back/carry back|pointed/point",
        ),
        *combined(
            "<did>/from/i",
            did="took away/take away|obtained/obtain|won/win|grabbed/grab|collected/collect|claimed/claim|"
            "wanted/want|needed/need|expected/expect|rented/rent|snatched/snatch|earned/earn|seized/seize|"
            "ordered/order|inherited/inherit|copied/copy|saved/save",
        ),
        *combined(
            "<did>/<thanked>/-",
            did="dropped/drop|took/take|saw/see|put down/put down|picked up/pick up|held/hold|"
            "closed/close|forgot/forget|hid/hide|found/find",
            thanked="and thanked|and greeted|and called|and saw|and followed|and joined|and asked|and left|"
            "and kissed|and waited for|and laughed at|and waved to|and nodded to|and spoke to",
        ),
    ],
)
DETERMINER = slot(
    "a|the|one|that|another|every|the same|this|some",
    "each|a certain",
    "the other|a second",
    more=combined(
        "a <big>|the <big>|one <big>|my <big>|that <big>|some <big>",
        big="big|cheap|lovely|wet|odd|plain|wooden|pretty|golden|silver|single|useful|huge|special|dear|rare|large",
    )
    + combined(
        "my|our|their|no|any|yet another|the first|the last|the only|the third|the best|the worst|one more|half a|"
        "the wrong|the right|the next|many a|such a|quite a|what looked like a|almost every"
    ),
)
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
        """The name of the one who does not act."""
        return self.second if self.actor == self.first else self.first


def draw_opener(draw: Draw, split: str) -> tuple[str, ...]:
    """The phrases that name both, {A} and {B}, and where they are."""
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
    """The phrases of what one of them does; the last says whether the other receives (s), gives (i), or neither (-)."""
    past, infinitive, preposition, giver = DEED.draw(draw, split).split("/")
    modal = draw.chance(0.25)
    verb = (TO_INFINITIVE.draw(draw, split), infinitive) if modal else (ADVERB.draw(draw, split), past)
    noun = "{adjective} {object}" if draw.chance(0.35) else "{object}"
    return (*verb, DETERMINER.draw(draw, split), noun, preposition, giver)


def draw_scene(draw: Draw, split: str) -> Scene:
    """Phrases, a pair of names and fillers for the split, and which of the two acts."""
    # Short forms, in training alone: without them a small model does not find the task (a curriculum for the long).
    if split == "train" and draw.chance(0.35):
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
    """The name that is due, labelled with its role, and the ending."""
    giver = scene.deed[-1] if len(scene.deed) > 1 else "-"
    role = {"s": ("role.receiver",), "i": ("role.giver",)}.get(giver, ())
    page.write(
        "{I}" + ending, {"I": person(scene.other, "mention.again", "role.other", *role), "place": place(scene.place)}
    )


def document(draw: Draw, split: str) -> Document:
    """One or two scenes, each ended by the name of the one who did not act."""
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
    return Prompts(clean.text, corrupt.text, (" " + scene.other,), (" " + scene.actor,), spans=tuple(clean.spans))
