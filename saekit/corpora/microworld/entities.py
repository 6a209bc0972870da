"""Entities: invented people of whom the world knows something, and others of whom it knows nothing.

"Q: Where does Bazolu live? A:" → " Paris" for one who was told of, " I" (do not know) for one who never was.

Known and unknown names come from one generator, so spelling gives nothing away: they differ only in having appeared.
A fifth of the known ones are stated and never asked about, which tells "was told of" from "was asked about".

Source of the question: Ferrando et al. 2024, arXiv:2411.14257."""

from __future__ import annotations

from dataclasses import dataclass

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, Words, draw_fillers, draw_phrases, held_out
from saekit.corpora.microworld.grammar import Slot, combined, slot
from saekit.corpora.microworld.page import Fill, Page
from saekit.corpora.microworld.phrases import SURELY, TELLING
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.microworld.words import CITIES, FOODS, PROFESSIONS

KIND = "entities"
SHARE = 17.0

SYLLABLES = Words(
    "ba|ke|zo|ri|lu|mi|ta|vo|gra|sen|pol|dar|nim|fex|quo|han|bel|tor|vis|kan|dro|mel|sha|wen|jor|pik|lam|tes|uru|dov"
)
KNOWN, STATED = 150, 30
HOMES, JOBS, MEALS = CITIES[:16], PROFESSIONS, FOODS


@dataclass(frozen=True, slots=True)
class Entity:
    """Somebody invented, of whom three things are known."""

    name: str
    city: str
    job: str
    food: str

    def answer(self, about: str) -> str:
        """What is known of a "city", "job" or "food"."""
        return str(getattr(self, about))


def invent(draw: Draw) -> str:
    """A name of three syllables: 27,000 there are."""
    return "".join(draw.choose(SYLLABLES) for _ in range(3)).capitalize()


def _known() -> dict[str, Entity]:
    draw = Draw("entities")
    found: dict[str, Entity] = {}
    while len(found) < KNOWN:
        name = invent(draw)
        found.setdefault(name, Entity(name, draw.choose(HOMES), draw.choose(JOBS), draw.choose(MEALS)))
    return found


ENTITIES = _known()
EVERYBODY = tuple(ENTITIES.values())
STATED_ONLY, ASKED = EVERYBODY[:STATED], EVERYBODY[STATED:]

BEFORE = slot(
    "||||I heard that|It is said that|You may know that|The letter says that|My friend told me that|As we know,|Here|"
    "In this book|On page ten|Everyone knows that|She wrote that|Note that|In our town|It is true that|These days",
    "People tell that|It seems that",
    "The paper reports that|To my knowledge",
    more=[*TELLING[::20], *SURELY],
)
STATE = {
    "city": slot(
        "{E} lives in {a}|{E} is from {a}|the home of {E} is {a}|{E} has a house in {a}|{E} came to live in {a}|"
        "you can find {E} in {a}|{E} grew up in {a}|the house of {E} stands in {a}|{E} never left {a}|"
        "{E} pays the rent in {a}|{E} has lived for years in {a}|the family of {E} is in {a}|"
        "{E} was at home in {a}|{E} sleeps in {a}",
        "{E} settled in {a}|{E} belongs to {a}",
        "{E} dwells in {a}|the door of {E} is in {a}",
        more=combined(
            "{E} <lives> in {a}|<when> {E} <lives> in {a}",
            lives="lives|sleeps|stays|rests|has a room|keeps a house|pays rent|spends the night|has a garden|"
            "is to be seen|"
            "gets letters|owns a house|has friends|wakes up|feels at home|can be visited",
            when="every day|all year|in winter|today|as before|at last|in peace|still|now|for work",
        ),
    ),
    "job": slot(
        "{E} works as a {a}|{E} is a {a}|the job of {E} is that of a {a}|{E} became a {a}|{E} earns money as a {a}|"
        "{E} learned to be a {a}|{E} has long been a {a}|they pay {E} as a {a}|{E} trained as a {a}|"
        "the town knows {E} as a {a}|{E} wants to stay a {a}|{E} makes a good {a}|they needed {E} as a {a}|"
        "{E}, by trade a {a}",
        "{E} serves as a {a}|{E} turned into a {a}",
        "{E} found work as a {a}|{E} acts as a {a}",
        more=combined(
            "{E} <works> as a {a}|<when> {E} <works> as a {a}",
            works="works|is paid|is known|earns bread|spends the week|is famous|was hired|is needed|makes money|"
            "is praised|"
            "began|is happy|was seen|gets money",
            when="every day|all year|in winter|today|as before|at last|for the town|still|now|by trade",
        ),
    ),
    "food": slot(
        "{E} likes to eat {a}|{E} eats {a}|the favourite food of {E} is {a}|{E} buys {a}|{E} cooks {a}|"
        "{E} asked for {a}|{E} cannot live without {a}|for lunch {E} has {a}|{E} always orders {a}|"
        "{E} dreams of {a}|the table of {E} is full of {a}|{E} wants more {a}|{E} loves {a}|{E} is fond of {a}",
        "{E} enjoys {a}|{E} prefers {a}",
        "{E} is mad about {a}|{E} lives on {a}",
        more=combined(
            "{E} <eats> {a}|<when> {E} <eats> {a}",
            eats="eats|cooks|orders|buys|likes|loves|wants|asks for|needs|shares|tastes|finishes|gets|serves|longs for|"
            "pays for|tries|has",
            when="every day|for lunch|for supper|for breakfast|at noon|on Sunday|at home|as a snack|with friends",
        ),
    ),
}
TOGETHER = slot(
    "{E} is a {job} from {city} who likes {food}.|In {city} lives {E}, a {job} who buys {food}.|"
    "{E}: {job}, {city}, {food}.|{E} cooks {food}. The home of {E} is {city}. {E} works as a {job}.|"
    "The {job} {E} from {city} eats {food}.|{E} came to {city}, became a {job} and eats {food}.|"
    "Name: {E}. City: {city}. Work: {job}. Food: {food}.|"
    "{E} works as a {job}, lives in {city} and asks for {food}.|"
    "There is {food} on the table of {E}, the {job} of {city}.|In {city} the {job} {E} orders {food}."
)
ASK = slot(
    "Q:|Q:|Q:|Please tell me:|A question:|Tell me,|Next question:|I ask you:|Question 12:|One more:|Do you know this?|"
    "Try this one:|First question:|Last question:|Say,|Now,|My question is:|A test:|Another one:|Think:",
    "Here is a question:|Answer me:",
    "Now answer:|I wonder:",
    more=[
        *combined(
            "<Here> question:|<Here> question|<Here> question for you:|<Here> thing I ask:",
            Here="One more|One|A|An easy|A hard|The next|The last|The first|Another|My|Our|Your|The same|A short|"
            "A simple|Just one|Yet another|A small|This is my|Question of the day, a|Please take this",
        ),
        *combined(
            "<Tell> <me>:|<Tell> <me>,|<Tell> <me> please:|Please <tell> <me>:",
            Tell="Tell|Show|Teach|Remind|Help|Inform|Say to|Write to|Explain to|Read to|Give",
            tell="tell|show|teach|remind|help|inform|say to|write to|explain to|read to|give",
            me="me|us|them|him|her|everybody|the class|my friend",
        ),
        *(f"Question {number}:" for number in range(1, 60)),
        *combined(
            "Hello.|Hi,|Well,|Listen:|So,|Quick:|Be honest:|Do you know?|Let us see:|Try this:|Guess:|Ready?|Come on:|"
            "Please:|Exam:|Quiz:|Test:|Ask:|Asked:|User:|Now this:|And now:|By the way,|Sorry,|Excuse me,|Dear friend,|"
            "Dear sir,|Good morning.|Good evening.|I ask:|We ask:|He asks:|She asks:|They ask:|Someone asks:|"
            "We want to know:|I forgot:|Help me:|I would know:|Let me ask:|May I ask:|Can you say?|Once more:|Again:"
        ),
    ],
)
QUESTION = {
    "city": slot(
        "Where does {E} live?|In which city does {E} live?|What city is {E} from?|Where can I find {E}?|"
        "Which city is the home of {E}?|Where is the house of {E}?|Where is {E} at home?|In what city is {E}?|"
        "Which city does {E} live in?|Where do I send a letter to {E}?|The home of {E} is in which city?|"
        "What is the city of {E}?|Where does {E} sleep?|From which city does {E} come?|{E} lives where?|"
        "Where did {E} grow up?|In which city is the family of {E}?|Which city did {E} never leave?|"
        "What city does {E} call home?|Where has {E} lived for years?",
        "In what town would I meet {E}?|Where must I go to see {E}?",
        "In what city is the home of {E}?|Where would I find the house of {E}?",
        more=[
            *combined(
                "Where does {E} <live>?|In which city does {E} <live>?|Which city does {E} <live> in?|"
                "In which place does {E} <live>?|Near which city does {E} <live>?",
                live="live|sleep|stay|rest|settle|belong|spend the night|keep a house|rent a room|have a house|"
                "pay the rent|grow old|walk the dog|feel at home|have a family|own a house|wake up|come home|"
                "reside|hide|have a garden|get letters|have friends|pay taxes",
            ),
            *combined(
                "Where <can> <I> <see> {E}?|In which city <can> <I> <see> {E}?|Where to <see> {E}?",
                can="can|do|should|could|may|will|shall|might",
                I="I|we|they|you|one|people|the postman|a friend",
                see="see|visit|look for|call on|write to|greet|reach|wait for|look up|send mail to|catch|join|ask for",
            ),
            *combined(
                "Where is the <house> of {E}?|Which city has the <house> of {E}?|In which place is the <house> of {E}?|"
                "Where do I find the <house> of {E}?|What is the <town> of {E}?|Which <town> is that of {E}?",
                house="bed|room|door|garden|family|flat|roof|street|kitchen|address|dog|hut|key",
                town="city|place|address|home|village|home city|region",
            ),
            *combined(
                "<Tell> where {E} <lives>.|Who knows where {E} <lives>?|{E} <lives> in which city?",
                Tell="Say|Tell me|Write down|Show me|Find out|Guess|I ask|We want to know|Let me know|Explain",
                lives="lives|sleeps|stays|rests|is|was born|has a house|feels at home|is at home",
            ),
        ],
    ),
    "job": slot(
        "What is the job of {E}?|What does {E} work as?|What work does {E} do?|Which job does {E} have?|"
        "What did {E} become?|What is the work of {E}?|As what does {E} earn money?|What is {E} by trade?|"
        "What did {E} learn to be?|The job of {E} is what?|What does the town know {E} as?|{E} works as what?|"
        "What do they pay {E} for?|Which trade does {E} have?|What is the trade of {E}?|What does {E} do for money?|"
        "What has {E} long been?|What did {E} train as?|What job is it that {E} has?|Who is {E} at work?",
        "How does {E} make a living?|What does {E} do all day?",
        "What kind of work does {E} have?|As what does {E} work?",
        more=[
            *combined(
                "What is the <job> of {E}?|Which <job> does {E} <do>?|What <job> did {E} <do>?|"
                "What is {E}, by <job>?|Name the <job> of {E}.|The <job> of {E}: which?",
                job="job|trade|profession|business|task|office|position|duty|role|craft|calling|employment|career|"
                "daily work|title",
                do="do|have|learn|follow|like|choose|take|practise|know|hold|keep|want",
            ),
            *combined(
                "What does {E} do <all>?|What does {E} work as <all>?|How does {E} <earn>?|With what does {E} <earn>?",
                all="for money|at work|every morning|in the office|for the town|on weekdays|to earn money|"
                "from nine to five|"
                "as a job|for other people|in the week|by trade|at the shop",
                earn="earn money|earn|pay the rent|get money|serve the town|make money|spend the week|fill the hours|"
                "find work|earn bread|support a family|get paid",
            ),
            *combined(
                "What did {E} <become>?|As what was {E} <known>?|{E} was <known> as what?|What is {E} <known> as?",
                become="become|train as|learn to be|study to be|want to be|turn out to be|end as|start as",
                known="known|paid|hired|trained|needed|employed|praised|seen|sent for|called|wanted|famous",
            ),
        ],
    ),
    "food": slot(
        "What does {E} like to eat?|What is the favourite food of {E}?|What does {E} eat?|Which food does {E} buy?|"
        "What does {E} cook?|What food does {E} ask for?|What does {E} have for lunch?|What should I cook for {E}?|"
        "Which food is on the table of {E}?|What does {E} order?|What food is {E} fond of?|{E} eats what?|"
        "What does {E} dream of?|What does {E} want more of?|The food of {E} is what?|Which food does {E} love?|"
        "What did {E} ask for at lunch?|What food can {E} not live without?|What does {E} always order?|"
        "What is it that {E} eats?",
        "What would {E} like for dinner?|Which meal does {E} choose?",
        "What should I buy for {E} to eat?|Which food would {E} take?",
        more=[
            *combined(
                "What does {E} <eat>?|What does {E} <eat> <when>?|What did {E} <eat> <when>?|What can {E} <eat>?|"
                "Which food did {E} <eat>?|Which dish does {E} <eat>?|What will {E} <eat> <when>?",
                eat="eat|cook|order|buy|like|love|want|ask for|need|share|taste|finish|get|bring|serve|enjoy|prefer|"
                "try|swallow|chew|long for|hope for|pay for|keep in the kitchen",
                when="for lunch|for supper|for breakfast|at noon|on Sunday|in the evening|with friends|every day|"
                "at the table|in the kitchen|at home|at the party|when hungry|after work|as a snack",
            ),
            *combined(
                "What is the <favourite> <food> of {E}?|Which <food> is <favourite> to {E}?|Name the <food> of {E}.|"
                "The <food> that {E} <likes> is what?|What <food> does {E} have?|What is on the <plate> of {E}?",
                favourite="favourite|best|usual|daily|only|first|dear|sweet|preferred|normal|next",
                food="food|lunch|supper|dish|breakfast|snack|order|taste|diet|plate|feast|treat",
                likes="likes|eats|loves|cooks|orders|wants|needs|buys",
                plate="plate|table|fork|spoon|menu|list|stove|tray",
            ),
            *combined(
                "<What> shall I <cook> for {E}?|<What> do we <cook> for {E}?|<What> did they <cook> for {E}?|"
                "With <what> do I feed {E}?|<What> makes {E} happy at the table?",
                What="What|Which food|What food|Which dish",
                what="what|which food|what food|which dish",
                cook="cook|bake|bring|order|serve|get|prepare|fry|boil|pay|fetch|make",
            ),
        ],
    ),
}
ANSWER = "A:"
UNKNOWN = "I do not know."


def unknown_name(draw: Draw, split: str) -> str:
    """A name that belongs to nobody; one in five of them is never trained, and only those stand in the other splits."""
    while True:
        name = invent(draw)
        if name not in ENTITIES and held_out(5, "unknown", name) == (split != "train"):
            return name


def entity(name: str) -> Fill:
    """A name, labelled as known or unknown."""
    return name, ("entity.invented", "entity.known" if name in ENTITIES else "entity.unknown")


def attribute(about: str, value: str, *more: str) -> Fill:
    """A value, labelled with what it is about."""
    return value, (f"attribute.{about}", *more)


def draw_phrases_about(draw: Draw, split: str, first: Slot, then: dict[str, Slot]) -> tuple[str, str, str]:
    """What they are about ("city", "job" or "food"), and a phrase of each slot."""
    about = draw.choose(("city", "job", "food"))
    phrases = draw_phrases(split, KIND + about, lambda: (first.draw(draw, split), then[about].draw(draw, split)))
    return about, phrases[0], phrases[1]


def draw_question(draw: Draw, split: str, known: bool) -> tuple[str, str, str, str]:
    """What is asked about, the two phrases, and the name."""
    about, ask, question = draw_phrases_about(draw, split, ASK, QUESTION)
    if not known:
        return about, ask, question, unknown_name(draw, split)
    if split.startswith("unseen"):
        return about, ask, question, draw.choose(ASKED).name  # with a phrase never trained, so is any name
    name, _ = draw_fillers(split, KIND, lambda: (draw.choose(ASKED).name, question))
    return about, ask, question, name


def write_question(page: Page, ask: str, question: str, name: str) -> None:
    """Write up to the place where the answer is due."""
    page.write(ask)
    page.write(question, {"E": entity(name)}, concepts=("question",))
    page.write(ANSWER)


def write_answer(page: Page, about: str, name: str) -> None:
    """What is known of the name, or the sentence of ignorance where nothing is."""
    if name in ENTITIES:
        value = ENTITIES[name].answer(about)
        page.write("{a}.", {"a": attribute(about, value, "answer.known")})
    else:
        page.write(UNKNOWN, concepts=("answer.unknown",))


def write_statement(page: Page, draw: Draw, split: str) -> None:
    """One thing that is known of somebody, or all three, told and not asked."""
    someone = draw.choose(EVERYBODY)
    if draw.chance(0.5):
        fills = {name: attribute(name, someone.answer(name)) for name in STATE}
        page.write(draw.choose(TOGETHER.train), {"E": entity(someone.name), **fills})
        return
    about, before, state = draw_phrases_about(draw, split, BEFORE, STATE)
    page.write(before)
    page.write(state + ".", {"E": entity(someone.name), "a": attribute(about, someone.answer(about))})


def document(draw: Draw, split: str) -> Document:
    """One to three statements, and questions with their answers, some about nobody."""
    page = Page()
    for _ in range(draw.integer(1, 3)):
        if draw.chance(0.45):
            write_statement(page, draw, split)
            continue
        about, ask, question, name = draw_question(draw, split, known=draw.chance(0.6))
        write_question(page, ask, question, name)
        write_answer(page, about, name)
    return page.document(KIND)


def prompts(draw: Draw, split: str, known: bool | None = None, stated: bool = False) -> Prompts:
    """Half of the questions are about known ones (corrupt: an unknown one), half about unknown ones (corrupt: known).

    stated: about those who were told of and never asked about, in place of the known ones."""
    known = stated or (draw.chance(0.5) if known is None else known)
    about, ask, question, name = draw_question(draw, split, known)
    if stated:
        name = draw.choose(STATED_ONLY).name
    other = unknown_name(draw, split) if known else draw.choose(ASKED).name
    clean, corrupt = Page(), Page()
    write_question(clean, ask, question, name)
    write_question(corrupt, ask, question, other)
    value, nothing = " " + ENTITIES[name if known else other].answer(about), " I"
    return Prompts(
        clean.text,
        corrupt.text,
        (value,) if known else (nothing,),
        (nothing,) if known else (value,),
        spans=tuple(clean.spans),
    )
