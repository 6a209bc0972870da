"""What every corpus is made of: documents, and the spans of them that are labelled."""

from __future__ import annotations

from dataclasses import dataclass

SHOWN = 200  # characters of a text in a document's repr


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` (included) to `end` (excluded) of a document's text express `concept`, a dotted name such as
    `entity.person`."""

    start: int
    end: int
    concept: str


@dataclass(frozen=True, slots=True, repr=False)
class Document:
    """A text, the kind of document it is, and the labelled spans of it, which may nest and overlap."""

    text: str
    kind: str = "text"
    spans: tuple[Span, ...] = ()

    def __repr__(self) -> str:
        """The beginning of its text, and how much more there is."""
        start = self.text[:SHOWN]
        more = f" … {len(self.text) - SHOWN:,} more characters" if len(self.text) > SHOWN else ""
        return f"Document({start!r}{more}, kind={self.kind!r}, {len(self.spans):,} labelled spans)"
