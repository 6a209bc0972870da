"""Years: something lasts from one year to a later one of the same century (greater-than).

"The war lasted from the year 1732 to the year 17" → any of 33 … 99.

Source of the task: Hanna et al. 2023, arXiv:2305.00586."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, Words, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import combined, slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.phrases import SURELY, TELLING, TIMES, capitalised
from saekit.corpora.microworld.prompts import Prompts

KIND = "years"
SHARE = 14.0

EVENTS = Words(
    "war|strike|voyage|reign|drought|siege|festival|trial|famine|crisis|journey|work|rule|peace|project|quarrel|"
    "campaign|exile|plague|debate|"
    "contract|search|marriage|friendship"
)
OPENER = slot(
    "||||Here it says that|I read that|In this land|As we know,|The book says that|He wrote that|It is known that|"
    "In the north|My teacher said that|"
    "Once|According to the letter,|For the town|On this page:|Far away|We learned that|As she told us,",
    "They told us that|On the wall it says that",
    "The stone tells us that|In the old days",
    more=capitalised(
        phrase
        for phrase in (*TELLING[::20], *SURELY, *TIMES[::10])
        if "one" not in phrase.split()  # held back below
    ),
)
LENGTH = slot(
    "the|a long|the great|the second|the last|the first|the famous|their|the old|a new|the secret|our",
    "the final|one",
    "the whole|a bitter",
    more=combined(
        "<a> <sad>",
        a="the|a|their|this|that|our|his|every such|one such",
        sad="sad|short|bad|cruel|slow|good|strange|small|big|secret|famous|forgotten|costly|silent|hard|endless|royal|"
        "last|third|fourth|northern|southern|foreign|common|just|dark",
    ),
)
# {c}{y} is the first year, and the phrase ends where the second year is due, of which the century is written.
SPAN = slot(
    "{event} lasted from the year {c}{y} to the year|{event} began in {c}{y} and ended in|"
    "{event} of {c}{y} went on until|"
    "{event} continued from {c}{y} until the year|{event} started in {c}{y}. It was over in|"
    "{event} took place between {c}{y} and|"
    "{event}, {c}{y} to|{event} of the king took the years {c}{y} to|"
    "{event}, which began in {c}{y}, did not end before|"
    "{event} was planned in {c}{y} and was finished in|{event} came in {c}{y} and was gone by|"
    "{event} held the land from {c}{y} till|"
    "{event} first came in {c}{y}, and again in|{event} is dated {c}{y} to|{event} grew from {c}{y} on and stopped by|"
    "{event} made him poor in {c}{y} and rich in|{event} filled the years from {c}{y} to|"
    "{event} opened in {c}{y}; the end came in",
    "{event} broke out in {c}{y} and died down in|{event} ran from {c}{y} up to",
    "{event} was declared in {c}{y} and called off in|{event} stretched from {c}{y} into",
    more=[
        *combined(
            "{event} <began> in {c}{y} and <ended> in|{event} <began> in {c}{y} and <ended> by|"
            "{event} <began> in {c}{y}. It <ended> in|{event}, which <began> in {c}{y}, <ended> in|"
            "{event} <began> in the year {c}{y} and <ended> in the year|{event} <began> in {c}{y}, and <ended> before",
            began="began|started|opened|came|arose|was planned|was ordered|was begun|grew|was born|was opened|"
            "was heard of|followed|returned|got worse|was known|was feared",
            ended="ended|was over|stopped|was gone|closed|was lost|was finished|was done|was forgotten|was settled|"
            "came to an end|found its end|went away|was won|failed|was stopped|ceased|faded",
        ),
        *combined(
            "{event} <lasted> from {c}{y} <to>|{event} <lasted> from the year {c}{y} <to> the year|"
            "{event} <lasted> since {c}{y} <to>",
            lasted="lasted|continued|went on|is dated|stayed|was known|was felt|filled the land|was seen|troubled us|"
            "was studied|was fought|was paid for|shaped the town|was told of",
            to="to|until|till|through to|and on until|to about|to at least|almost until|to exactly",
        ),
        *combined(
            "{event} (<about> {c}{y} <to>|{event}, <about> {c}{y} <to>|{event}: <about> {c}{y} <to>",
            about="from|about|years|dated|in the years",
            to="to|until|till|-|and",
        ),
        *combined(
            "{event} <was> between {c}{y} and|{event} <was> in the years {c}{y} to|{event} <was> within {c}{y} and",
            was="was|is|was seen|was held|came|fell|was felt|lay|was kept|happened|must have been",
        ),
    ],
)
ENDINGS = (".", ".", ".", ", not before.", ", as the book says.", " in the end.")


def draw_years(draw: Draw, split: str) -> tuple[tuple[str, ...], str, str, int]:
    """Phrases, event, century and the two digits of the first year."""
    phrases = draw_phrases(
        split, KIND, lambda: (OPENER.draw(draw, split), LENGTH.draw(draw, split), SPAN.draw(draw, split))
    )
    event, century, year = draw_fillers(
        split, KIND, lambda: (draw.zipf(EVENTS), str(draw.integer(11, 19)), f"{draw.integer(2, 97):02d}")
    )
    return phrases, event, century, int(year)


def write_years(page: Page, phrases: tuple[str, ...], event: str, century: str, year: int) -> None:
    """Write up to the second year's century, included."""
    opener, length, span = phrases
    page.write(opener)
    page.write(length)
    before, after = span.split("{c}{y}")
    page.write(before.rstrip(), {"event": (event, ("entity.event",))})
    page.write(century + f"{year:02d}", concepts=("number.year", "number.start_year"))
    page.write(after.lstrip())
    page.write(century)


def document(draw: Draw, split: str) -> Document:
    """One or two spans of years, the second year above the first."""
    page = Page()
    for _ in range(draw.integer(1, 2)):
        phrases, event, century, year = draw_years(draw, split)
        write_years(page, phrases, event, century, year)
        start = page.length - 2
        page.add(f"{draw.integer(year + 1, 99):02d}")
        page.mark(start, "number.year", "number.end_year")
        page.write(draw.choose(ENDINGS))
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: the first year ends in 01, after which every ending is valid."""
    phrases, event, century, year = draw_years(draw, split)
    clean, corrupt = Page(), Page()
    write_years(clean, phrases, event, century, year)
    write_years(corrupt, phrases, event, century, 1)
    endings = tuple(f"{ending:02d}" for ending in range(100))
    return Prompts(clean.text, corrupt.text, endings[year + 1 :], endings[: year + 1], spans=tuple(clean.spans))
