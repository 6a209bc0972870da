"""A slot of a grammar: the phrases that training sees, and two lists that it never sees."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from saekit.corpora.microworld.chance import Draw, Words

SPLITS = ("train", "heldout", "unseen_dev", "unseen")
PART = re.compile(r"<(\w+)>")
WORD = re.compile(r"[a-z']+")
FILLED = re.compile(r"\{\w+\}")


@dataclass(frozen=True)
class Slot:
    """The phrases that may stand in one place.

    `train` serves the splits train and heldout: half of the draws take one of its first `written`, the plain ones, half
    one of all. `unseen_dev` and `unseen` hold phrases that no training document of the kind contains; a slot without
    them (function words) uses its trained phrases everywhere."""

    train: Words
    unseen_dev: Words
    unseen: Words
    written: int

    def draw(self, draw: Draw, split: str) -> str:
        """A phrase for the split."""
        if split.startswith("unseen"):
            return draw.choose(self.unseen_dev if split == "unseen_dev" else self.unseen)
        return self.train[int(draw.uniform() * (self.written if draw.chance(0.5) else len(self.train)))]


def combined(patterns: str, **words: str | Sequence[str]) -> list[str]:
    """Every phrase that the patterns make: `combined("<went> to the {place}", went="ran|rode")` gives "ran to the
    {place}" and "rode to the {place}". Patterns and words are written "a|b|c"."""
    lists = {name: value.split("|") if isinstance(value, str) else list(value) for name, value in words.items()}
    made = []
    for pattern in patterns.split("|"):
        names = PART.findall(pattern)
        for chosen in product(*(lists[name] for name in names)):
            phrase = pattern
            for name, word in zip(names, chosen, strict=True):
                phrase = phrase.replace(f"<{name}>", word, 1)
            made.append(phrase)
    return made


def slot(train: str, unseen_dev: str = "", unseen: str = "", more: Iterable[str] = ()) -> Slot:
    """A slot from phrases written "a|b|c". Of `more` training gets those that hold neither an unseen phrase nor a word
    of one, as far as no phrase in `train` has that word."""
    written, held_back = train.split("|"), [p for p in f"{unseen_dev}|{unseen}".lower().split("|") if p]
    words = _words(" ".join(held_back)) - _words(train)
    phrases = re.compile(
        "|".join(rf"(?<!\w){re.escape(phrase.strip(' .,;:'))}(?!\w)" for phrase in held_back) or r"(?!)"
    )
    trained = Words(
        [
            *written,
            *(
                phrase
                for phrase in dict.fromkeys(more)
                if phrase not in written and not _words(phrase) & words and not phrases.search(phrase.lower())
            ),
        ]
    )
    return Slot(
        trained,
        Words(unseen_dev) if unseen_dev else trained,
        Words(unseen) if unseen else trained,
        len(written),
    )


def _words(phrases: str) -> set[str]:
    return set(WORD.findall(FILLED.sub(" ", phrases).lower()))
