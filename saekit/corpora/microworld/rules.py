"""Rules: chains of if-then, and what follows.

"If red then big. If big then old. The cup is red. So it is" → " old".

Source of the question: two-hop reasoning, Biran et al. 2024, arXiv:2406.12775."""

from __future__ import annotations

from itertools import pairwise

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import ADJECTIVES, OBJECTS, adjective, thing

KIND = "rules"
SHARE = 2.0

RULE = slot(
    "If {a} then {b}.|What is {a} is {b}.|All that is {a} is {b}.|{a} things are {b}.|Whatever is {a} must be {b}.|"
    "From {a} follows {b}.|Everything {a} is {b}.|Being {a} makes it {b}.|{a} means {b}.|Once {a}, always {b}.",
    "Only {b} things are {a}.|To be {a} is to be {b}.",
    "Nothing {a} fails to be {b}.|Each {a} thing is {b}.",
)
CASE = slot(
    "The {x} is {a}.|We know that the {x} is {a}.|Here is a {a} {x}.|Look, the {x} is {a}.|My {x} is {a}.|"
    "I have a {a} {x}.|There is a {a} {x}.",
    "Take a {a} {x}.",
    "You see a {a} {x}.",
)
SO = slot(
    "So it is {b}.|So the {x} is {b}.|It follows that it is {b}.|Then the {x} is {b}.|This means that it is {b}.|"
    "In the end it is {b}.",
    "We see that it is {b}.",
    "Thus the {x} is {b}.",
)


def document(draw: Draw, split: str) -> Document:
    """One to three rules in any order, a premise, and what follows after as many steps as there are rules."""
    page = Page()
    rule, case, so = draw_phrases(
        split, KIND, lambda: (RULE.draw(draw, split), CASE.draw(draw, split), SO.draw(draw, split))
    )
    steps = draw.integer(1, 3)
    chain = draw_fillers(split, KIND, lambda: tuple(draw.sample(ADJECTIVES, steps + 1)))
    links = list(pairwise(chain))
    for first, second in draw.shuffled(links):
        page.write(rule, {"a": adjective(first), "b": adjective(second)}, concepts=("rule",))
    what = thing(draw.zipf(OBJECTS))
    page.write(case, {"x": what, "a": (chain[0], ("adjective", "rule.premise"))})
    hops = ("rule.conclusion", f"rule.conclusion.{steps}_step{'s' if steps > 1 else ''}")
    page.write(so, {"x": what, "b": (chain[-1], ("adjective", *hops))})
    return page.document(KIND)
