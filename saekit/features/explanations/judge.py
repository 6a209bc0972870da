"""Judge: who says, from an explanation alone, where a latent fires. A predicate judges by itself; free text needs a
chat model (`ChatJudge`, `LocalJudge`)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from saekit.corpora.predicates import Concept, Predicate, Tokens, parse
from saekit.features.asking.windows import Window

Explanation = Predicate | str
LONGEST = 10_000  # characters of an explanation


@dataclass(frozen=True)
class MarkedWindow:
    """A window and which of its tokens are marked."""

    window: Window
    marked: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.marked) != len(self.window.texts):
            raise ValueError(f"{len(self.marked)} marks for {len(self.window.texts)} tokens: give one for each.")


class Judge(Protocol):
    """Answers two questions about windows, in their order, seeing the explanation, the text and its labels; a judge
    never looks at a window's values."""

    def detect(self, explanation: Explanation, windows: Sequence[Window]) -> list[bool]:
        """Does the latent fire somewhere in the window?"""

    def fuzz(self, explanation: Explanation, marked: Sequence[MarkedWindow]) -> list[bool]:
        """Are the marked tokens those on which it fires?"""


class PredicateJudge:
    """Applies a predicate, or the text of one.

    detect: it holds at some token. fuzz: it holds at half of the marked tokens or more, so that a latent that also
    fires on a token the explanation does not name is not lost, and one marked token of many is not enough.
    """

    def detect(self, explanation: Explanation, windows: Sequence[Window]) -> list[bool]:
        """Whether the latent fires in each window, as the explanation has it."""
        predicate = self.predicate(explanation, windows)
        return [any(predicate.holds(window)) for window in windows]

    def fuzz(self, explanation: Explanation, marked: Sequence[MarkedWindow]) -> list[bool]:
        """Whether the marks of each window are on the tokens that the explanation means."""
        predicate = self.predicate(explanation, [one.window for one in marked])
        answers = []
        for one in marked:
            held = [holds for holds, mark in zip(predicate.holds(one.window), one.marked, strict=True) if mark]
            answers.append(bool(held) and 2 * sum(held) >= len(held))
        return answers

    def predicate(self, explanation: Explanation, windows: Sequence[Window] = ()) -> Predicate:
        """The predicate that an explanation is; ValueError where it is free text, with the nearest predicate."""
        if isinstance(explanation, Predicate):
            return explanation
        if not isinstance(explanation, str):
            raise TypeError(f"an explanation is a predicate or a text, found {type(explanation).__name__}.")
        try:
            return parse(explanation)
        except ValueError as error:
            names = {label for window in windows for labels in window.concepts for label in labels}
            near = nearest_predicate(explanation, names)
            raise ValueError(
                f"{explanation[:80]!r} is free text, which only a chat model can judge: give judge=ChatJudge(url, "
                f"model) or judge=LocalJudge(model), or write a predicate such as {near} ({error})"
            ) from None

    def __repr__(self) -> str:
        return "PredicateJudge()"


def nearest_predicate(text: str, concepts: Collection[str] = ()) -> Predicate:
    """A predicate to offer for a free text: the concept that shares a word with it or nearly so, else its words."""
    words = re.findall(r"[^\W_]+", text[:LONGEST].casefold())
    parts = {part.casefold(): name for name in sorted(concepts, reverse=True) for part in [name, *name.split(".")]}
    near = {}
    for word in words:
        for part in difflib.get_close_matches(word, parts, 1, 0.6):
            near[difflib.SequenceMatcher(None, word, part).ratio()] = parts[part]
    if near:
        return Concept(near[max(near)])
    longest = sorted(words, key=len, reverse=True)[:3]  # "of" says little
    return Tokens(frozenset(longest) or frozenset({"word"}), fold=True)


def explanation_text(explanation: Explanation) -> str:
    """An explanation as text; ValueError where there is none or it is longer than a judge should read."""
    text = str(explanation).strip()
    if not text or len(text) > LONGEST:
        raise ValueError(f"an explanation has 1 to {LONGEST:,} characters, found {len(text):,}.")
    return text
