"""Reviews: praise or blame, then a verdict that agrees with it.

"The film was awful. The music was dull. In the end we" → " hated", not " loved". Source of the question: Tigges et al.
2023, arXiv:2310.15154."""

from __future__ import annotations

from functools import partial

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, Words, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import combined, slot
from saekit.corpora.microworld.page import Fill, Page
from saekit.corpora.microworld.phrases import PLACING, SPEAKERS, SURELY, TIMES, capitalised
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.microworld.words import PLACES, place

KIND = "reviews"
SHARE = 10.0

GOOD = Words(
    "great|wonderful|lovely|brilliant|good|charming|perfect|beautiful|superb|funny|warm|fresh|clever|delightful|"
    "pleasant|rich|excellent|fine|sweet|"
    "gentle"
)
BAD = Words(
    "awful|boring|dull|terrible|bad|weak|poor|ugly|stupid|cold|empty|slow|horrible|sad|dreadful|noisy|dirty|rude|"
    "stale|flat"
)
LIKED = Words("loved|enjoyed|praised|admired")
DISLIKED = Words("hated|disliked|regretted|avoided")
FIRST = slot(
    "The {topic} was {a}.|I saw the {topic} and it was {a}.|We paid for the {topic}, which was {a}.|"
    "The {topic} is {a}.|What a {a} {topic}.|"
    "The {place} was {a}.|This was a {a} {topic}.|The {topic} at the {place} was {a}.|A {a} {topic}.|"
    "I found the {topic} {a}.|"
    "Last year the {topic} was {a}.|My trip to the {place} was {a}.|The new {topic} is {a}.|It was a {a} {topic}.|"
    "Her {topic} was {a}.|"
    "Their {topic} seemed {a}.|We had a {a} {topic} at the {place}.|His {topic} looked {a}.|"
    "The second {topic} was {a}.|So {a} a {topic}.",
    "Nobody told me how {a} the {topic} was.|That {topic} turned out {a}.",
    "The {topic} struck us as {a}.|To my mind the {topic} was {a}.",
    more=[
        *combined(
            "<The> {topic} <was> {a}.|<The> {topic} at the {place} <was> {a}.",
            The="The|This|Her|His|Their|Our|My|Your|The new|The old|The last|The first|Such a|Each|Every|One",
            was="was|is|seemed|looked|felt|sounded|became|stayed|got|remained|was so|was very|was too|was quite|"
            "was rather|was really|has been|had been|must be|proved|appeared|grew|was always|was never not",
        ),
        *combined(
            "<I> <found> the {topic} {a}.|<I> <found> this {topic} {a}.",
            I="I|We|They|You|She|He|People|Critics|My friends|All of us",
            found="found|thought|called|considered|judged|believed|felt|made|rated|declared",
        ),
        *combined(
            "<I> <saw> the {topic}, which was {a}.|<I> <saw> a {a} {topic}.|<I> <saw> the {topic} and found it {a}.|"
            "<I> <saw> the {topic}: {a}.",
            I="I|We|They|You|She|He|My aunt|Our guests|The class",
            saw="saw|heard|watched|visited|tried|tested|bought|got|had|remember|described|reviewed|paid for|"
            "waited for|came for|wrote about|talked of",
        ),
        *combined(
            "<When> the {topic} was {a}.|<When> we had a {a} {topic}.",
            When=capitalised((*TIMES[::3], *SURELY)),
        ),
        *combined(
            "<What> a {a} {topic}!|<What> {a}, this {topic}.|{topic}: <what> {a}.",
            What="What|Such|Oh,|Well,|Yes,|Again|Once more|Truly|Really|Quite",
            what="very|so|really|quite|rather|just|all",
        ),
    ],
)
TOPICS = Words(
    "film|play|book|story|food|evening|song|festival|game|concert|dinner|voice|room|show|hotel|visit|poem|speech|"
    "meal|tour"
)
SECOND = slot(
    "||The music was {b}.|The ending was {b}.|The pictures were {b} too.|The people there were {b}.|"
    "Also the sound was {b}.|The weather was {b}.|"
    "Even the end was {b}.|It was {b} as always.|Everything there was {b}.|The writer is {b}.|"
    "The second half was {b}.|The actors were {b}.|"
    "The seats were {b}.|Each hour was {b}.|All of it was {b}.",
    "The costumes were {b} as well.|The opening was {b}.",
    "The waiters were {b}.|The middle part was {b}.",
    more=[
        *combined(
            "The <music> <was> {b}.|Its <music> <was> {b}.|Even the <music> <was> {b}.|Also the <music> <was> {b}.|"
            "We found the <music> {b}.",
            music="music|end|sound|light|weather|writer|first half|second half|last part|price|start|plot|crowd|"
            "service|smell|colour|speaker|stage|singer|hall|host|owner|place|garden|table|taste|style|language|"
            "title|idea|rhythm|mood|view|drive|audience|band|chorus|scene|choice|cover|print",
            was="was|is|seemed|felt|looked|stayed|was also|was just as|was even more|was again|was very|remained|"
            "sounded|became|must have been|was so",
        ),
        *combined(
            "The <actors> <were> {b}.|All <actors> <were> {b}.|We found the <actors> {b}.",
            actors="actors|people|seats|pictures|lights|rooms|guests|songs|jokes|chapters|pages|hours|words|"
            "voices|dancers|colours|beds|drinks|tickets|windows|stories|scenes|prices|friends",
            were="were|are|seemed|felt|looked|stayed|were also|were just as|were again|were very|remained",
        ),
        *combined("The <part> <near> the {place} was {b}.", part="road|room|air|view", near=PLACING),
    ],
)
JUDGE = slot(
    "I|We|They all|My friend|In the end we|So I|My sister|Everybody|My brother and I|The others|You know that I|"
    "As for me, I|Both of us|So we all",
    "My family|That is why I",
    "My parents|From the start I",
    more=[
        *combined(
            "<My> <friend>|<My> <friend> and I|So <my> <friend>",
            My="My|Our|Her|His|Their|The|Your",
            my="my|our|her|his|their|the|your",
            friend="aunt|uncle|cousin|neighbours|guests|boss|teacher|children|wife|husband|son|daughter|guide|editor|"
            "dentist|grandmother|students|class|barber|butcher|colleagues|sister|brother|visitors|readers|critics",
        ),
        *combined(
            "<So> <I>",
            So=capitalised([*SURELY, *combined("so|and so|then|thus|now|today|therefore|of course|in the end|still")]),
            I="I|we|they|you|she|he|people|everyone|all|many|most|both|some|the two|all of us|the whole town",
        ),
        *capitalised(SPEAKERS),
    ],
)


def draw_review(draw: Draw, split: str) -> tuple[tuple[str, str, str], bool, dict[str, Fill]]:
    """The three phrases, whether it praises, and the words for both."""
    first, second, judge = draw_phrases(
        split, KIND, lambda: (FIRST.draw(draw, split), SECOND.draw(draw, split), JUDGE.draw(draw, split))
    )
    good = draw.chance(0.5)
    words = draw_fillers(split, KIND, partial(draw.zipf_pair, GOOD if good else BAD))
    fills = {
        "place": place(draw.zipf(PLACES)),
        "topic": (draw.zipf(TOPICS), ("entity.reviewed",)),
        **judgement(words, draw.zipf(LIKED if good else DISLIKED), good),
    }
    return (first, second, judge), good, fills


def judgement(words: tuple[str, ...], verdict: str, good: bool) -> dict[str, Fill]:
    """The fillers that judge: two adjectives and the verdict, labelled with the sentiment."""
    concept = "sentiment.positive" if good else "sentiment.negative"
    return {
        "a": (words[0], (concept, "sentiment.adjective")),
        "b": (words[1], (concept, "sentiment.adjective")),
        "verdict": (verdict, (concept, "sentiment.verdict")),
    }


def document(draw: Draw, split: str) -> Document:
    """One or two reviews, each of three phrases and a verdict of one sentiment."""
    page = Page()
    for _ in range(draw.integer(1, 2)):
        phrases, good, fills = draw_review(draw, split)
        page.space("x")
        start = page.length
        for phrase in phrases:
            page.write(phrase, fills)
        page.write("{verdict} it.", fills)
        page.mark(start, "review.positive" if good else "review.negative")
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: adjectives of the other sign."""
    phrases, good, fills = draw_review(draw, split)
    clean, corrupt = Page(), Page()
    turned = fills | judgement(draw.zipf_pair(BAD if good else GOOD), "", not good)
    for phrase in phrases:
        clean.write(phrase, fills)
        corrupt.write(phrase, turned)
    place_of = LIKED.index(fills["verdict"][0]) if good else DISLIKED.index(fills["verdict"][0])
    liked, disliked = " " + LIKED[place_of], " " + DISLIKED[place_of]
    return Prompts(
        clean.text,
        corrupt.text,
        *(((liked,), (disliked,)) if good else ((disliked,), (liked,))),
        spans=tuple(clean.spans),
    )
