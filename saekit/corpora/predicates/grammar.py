"""parse: a predicate from its text, `concept(entity.person) & ~tokens(' the', ' a')`.

    either = both ("|" both)*           also written `or`
    both   = single ("&" single)*       also written `and`
    single = "~" single                 also written `not`
           | "(" either ")" | "after(" either ")" | "before(" either ")"
           | "concept(" name ")" | "tokens(" quoted, … ")" | "words(" quoted, … ")"

A recursive-descent parser of that grammar and nothing else: no text is ever evaluated. Quoted texts have Python's
escapes; a concept's name needs quotes only where it is no dotted word.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from saekit.corpora.predicates.predicate import (
    MOST_LEVELS,
    PLAIN_NAME,
    After,
    And,
    Before,
    Concept,
    Not,
    Or,
    Predicate,
    Tokens,
    within,
)
from saekit.files.choices import closest, unknown

WORDS = ("concept", "tokens", "words", "after", "before", "and", "or", "not")
_PIECE = re.compile(
    rf"""(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<unclosed>['"].*)|(?P<word>{PLAIN_NAME.pattern})|(?P<mark>\S)""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_SHORT = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_SAME = {"and": "&", "or": "|", "not": "~"}


def parse(text: str, concepts: Collection[str] | None = None) -> Predicate:
    """The predicate that a text writes.

    concepts: names that exist; with them a concept that is neither one of these nor above one is refused.
    Raises ValueError that names the character and the closest valid word.
    """
    return _Parser(text, concepts).whole()


class _Parser:
    def __init__(self, text: str, concepts: Collection[str] | None):
        self.text, self.concepts = text, concepts
        self.pieces = [(match.lastgroup or "", match[0], match.start()) for match in _PIECE.finditer(text)]
        self.pieces.append(("end", "", len(text.rstrip())))
        self.at = self.level = 0

    def whole(self) -> Predicate:
        found = self.either()
        if self.kind != "end":
            raise self.wrong("'&', '|' or the end")
        return found

    def either(self) -> Predicate:
        parts = [self.both()]
        while self.took("|"):
            parts.append(self.both())
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def both(self) -> Predicate:
        parts = [self.single()]
        while self.took("&"):
            parts.append(self.single())
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def single(self) -> Predicate:
        self.level += 1
        if self.level > MOST_LEVELS:
            raise ValueError(
                f"at character {self.place}: the explanation is nested more than {MOST_LEVELS} levels deep."
            )
        found = self._single()
        self.level -= 1
        return found

    def _single(self) -> Predicate:
        if self.took("~"):
            return Not(self.single())
        if self.took("("):
            return self.closed(self.either())
        word = self.value if self.kind == "word" else ""
        if word not in WORDS:
            raise self.wrong("concept, tokens, words, after, before, '~' or '('")
        self.at += 1
        self.open(word)
        if word == "concept":
            return self.closed(Concept(self.name()))
        if word in ("after", "before"):
            inner = self.either()
            return self.closed(After(inner) if word == "after" else Before(inner))
        texts = [self.quoted()]
        while self.took(","):
            texts.append(self.quoted())
        return self.closed(Tokens(frozenset(texts), fold=word == "words"))

    def name(self) -> str:
        if self.kind not in ("word", "quoted"):
            raise self.wrong("the name of a concept")
        place, known = self.place, self.concepts
        if self.kind == "quoted":
            name = self.quoted()
        else:
            name = self.value
            self.at += 1
        if known is not None and not any(within(concept, name) for concept in known):
            none = f"there is no concept {name!r}; the corpus has no labels."
            raise ValueError(
                f"at character {place}: {unknown('there is no concept', name, sorted(known)) if known else none}"
            )
        return name

    def quoted(self) -> str:
        if self.kind != "quoted":
            raise self.wrong("a text in quotes, such as ' the'")
        literal, place = self.value, self.place
        self.at += 1

        def character(match: re.Match[str]) -> str:
            escape = match[1]
            if len(escape) > 1 and int(escape[1:], 16) < 0x110000:
                return chr(int(escape[1:], 16))
            if escape not in _SHORT:
                raise ValueError(
                    f"at character {place + 1 + match.start()}: {match[0]!r} is no escape; write a backslash twice."
                )
            return _SHORT[escape]

        return _ESCAPE.sub(character, literal[1:-1])

    def open(self, word: str) -> None:
        if not self.took("("):
            raise self.wrong(f"'(' after {word}")

    def closed(self, found: Predicate) -> Predicate:
        if not self.took(")"):
            raise self.wrong("')'" if not isinstance(found, Tokens) else "',' or ')'")
        return found

    def took(self, mark: str) -> bool:
        """Step over the mark, or the word that means the same, if it is what comes next."""
        here = _SAME.get(self.value, self.value) if self.kind == "word" else self.value
        if self.kind not in ("mark", "word") or here != mark:
            return False
        self.at += 1
        return True

    @property
    def kind(self) -> str:
        return self.pieces[self.at][0]

    @property
    def value(self) -> str:
        return self.pieces[self.at][1]

    @property
    def place(self) -> int:
        return self.pieces[self.at][2] + 1

    def wrong(self, expected: str) -> ValueError:
        found = "the end" if self.kind == "end" else repr(self.value[:40])
        near = closest(self.value, WORDS, 0.6) if self.kind == "word" else None
        if self.kind == "unclosed":
            hint = "; the quote is never closed"
        else:
            hint = f"; the closest word is {near!r}" if near and near != self.value else ""
        return ValueError(f"at character {self.place}: expected {expected}, found {found}{hint}.")
