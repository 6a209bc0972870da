"""A page is written word by word, and each piece says what it is: so a label is what the generator meant, never a
guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from saekit.corpora.documents import Document, Span

Fill = tuple[str, tuple[str, ...]]  # a text and the concepts that it expresses
SLOT = re.compile(r"\{(\w+)\}")
GLUED = frozenset(".,;:?!'")  # no space before these


@lru_cache(maxsize=65_536)
def parse(phrase: str) -> tuple[str, ...]:
    """Texts at even places, names of slots at odd ones: `left the {place}, and` → ("left the ", "place", ", and")."""
    return tuple(SLOT.split(phrase))


def reading_order(span: Span) -> tuple[int, int, str]:
    """By start; of those that start together the longest first."""
    return span.start, -span.end, span.concept


class Page:
    """Text in the making. `write` puts a space between phrases and a capital at the start of a sentence."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0
        self.spans: list[Span] = []
        self._last = ""
        self._sentence_over = True

    def add(self, text: str, concepts: tuple[str, ...] = ()) -> None:
        """Append text exactly as it is, labelled with the concepts."""
        if not text:
            return
        end = self.length + len(text)
        for concept in concepts:
            self.spans.append(Span(self.length, end, concept))
        self.parts.append(text)
        self.length = end
        self._last = text[-1]
        if not text.isspace() or "\n" in text:
            self._sentence_over = text.rstrip(" ")[-1] in ".?!\n"

    def space(self, text: str) -> None:
        """A space where the next text needs one."""
        if self.length and text[0] not in GLUED and text[0] != " " and self._last not in " \n":
            self.add(" ")

    def article(self, text: str) -> None:
        """Turn an "a" that stands right before this text into "an"."""
        if (
            text[0] in "aeio"
            and self.parts
            and (self.parts[-1] in ("a ", "A ") or self.parts[-1][-3:] in (" a ", " A "))
        ):
            self.parts[-1] = self.parts[-1][:-1] + "n "
            self.length += 1

    def write(self, phrase: str, fills: Mapping[str, Fill] | None = None, concepts: tuple[str, ...] = ()) -> None:
        """Append a phrase, its {slots} filled. `concepts` label the whole phrase."""
        if not phrase:
            return
        pieces = parse(phrase)
        first = pieces[0] or (fills[pieces[1]][0] if fills else "")
        starts_sentence = self._sentence_over
        self.space(first)
        start = self.length
        for place, piece in enumerate(pieces):
            if place % 2:
                text, labels = fills[piece]  # type: ignore[index]
            else:
                text, labels = piece, ()
            if not text:
                continue
            if place % 2:
                self.article(text)
            if starts_sentence:
                text, starts_sentence = text[0].upper() + text[1:], False
            self.add(text, labels)
        self.mark(start, *concepts)

    def mark(self, start: int, *concepts: str) -> None:
        """Label everything written since `start`."""
        for concept in concepts:
            self.spans.append(Span(start, self.length, concept))

    @property
    def text(self) -> str:
        """What was written so far."""
        return "".join(self.parts)

    def document(self, kind: str) -> Document:
        """The page as a document of a kind, its spans in reading order."""
        return Document(self.text, kind, tuple(sorted(self.spans, key=reading_order)))
