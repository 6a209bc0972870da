"""What every corpus is made of: documents, and the spans of them that are labelled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` (included) to `end` (excluded) of a document's text express `concept`, a dotted name such as
    `entity.person`."""

    start: int
    end: int
    concept: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text, the kind of document it is, and the labelled spans of it, which may nest and overlap."""

    text: str
    kind: str = "text"
    spans: tuple[Span, ...] = ()
