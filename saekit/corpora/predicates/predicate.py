"""Predicates: explanations that can be applied without a language model.

A predicate says of every token of a window whether it fits: `Concept("entity.person")`, `Tokens({" the"})`, what comes
after or before another one, joined by & | ~. `str()` writes it as the text that `parse` reads.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")  # a concept that needs no quotes
MOST_LEVELS = 50  # predicates inside one another: deep enough for people, shallow enough for the stack


def within(label: str, name: str) -> bool:
    """Is a label the concept of this name or one below it? "entity.person" is within "entity"; "entity2" is not."""
    return label == name or label.startswith(name + ".")


def folded(text: str) -> str:
    """A token's text without its leading spaces and its case."""
    return text.lstrip(" ").casefold()


class Labelled(Protocol):
    """Neighbouring tokens, such as a `Window`."""

    @property
    def texts(self) -> Sequence[str]:
        """What each adds to the text."""

    @property
    def concepts(self) -> Sequence[frozenset[str]]:
        """The labelled concepts of each."""

    @property
    def counted(self) -> Sequence[bool]:
        """False at BOS and other tokens that are not counted."""


class Predicate(ABC):
    """Whether each token of a window fits. Uncounted tokens, such as BOS, never do."""

    def holds(self, window: Labelled) -> tuple[bool, ...]:
        """An answer a token."""
        return tuple(fits and counted for fits, counted in zip(self._fits(window), window.counted, strict=True))

    @abstractmethod
    def _fits(self, window: Labelled) -> Sequence[bool]: ...

    def to_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads."""
        return self._plain()

    def __repr__(self) -> str:
        """The text that `parse` reads."""
        return str(self)

    @abstractmethod
    def _plain(self) -> dict[str, Any]: ...

    def __and__(self, other: Predicate) -> Predicate:
        return And((self, other)) if isinstance(other, Predicate) else NotImplemented

    def __or__(self, other: Predicate) -> Predicate:
        return Or((self, other)) if isinstance(other, Predicate) else NotImplemented

    def __invert__(self) -> Predicate:
        return Not(self)


@dataclass(frozen=True, repr=False)
class Concept(Predicate):
    """The token is labelled with this concept or one below it: "entity" also holds at "entity.person".

    name: a concept's."""

    name: str

    def _fits(self, window: Labelled) -> Sequence[bool]:
        fits = {labels: any(within(label, self.name) for label in labels) for labels in set(window.concepts)}
        return [fits[labels] for labels in window.concepts]

    def __str__(self) -> str:
        return f"concept({self.name if PLAIN_NAME.fullmatch(self.name) else repr(self.name)})"

    def _plain(self) -> dict[str, Any]:
        return {"concept": self.name}


@dataclass(frozen=True, repr=False)
class Tokens(Predicate):
    """The token's text is one of these, leading space and case included; with `fold` both are overlooked.

    texts: of tokens."""

    texts: frozenset[str]
    fold: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.texts, str):
            raise TypeError(f"texts is a set of token texts, found the text {self.texts!r}: write {{{self.texts!r}}}.")
        texts = frozenset(map(folded, self.texts) if self.fold else self.texts)
        if not texts:
            raise ValueError("a set of tokens needs at least one text, found none.")
        object.__setattr__(self, "texts", texts)

    def _fits(self, window: Labelled) -> Sequence[bool]:
        return [(folded(text) if self.fold else text) in self.texts for text in window.texts]

    def __str__(self) -> str:
        return f"{'words' if self.fold else 'tokens'}({', '.join(map(repr, sorted(self.texts)))})"

    def _plain(self) -> dict[str, Any]:
        return {"words" if self.fold else "tokens": sorted(self.texts)}


@dataclass(frozen=True, repr=False)
class _Joined(Predicate):
    parts: tuple[Predicate, ...]

    def __post_init__(self) -> None:
        flat: list[Predicate] = []
        for part in self.parts:  # a & (b & c) is a & b & c, so that equal texts are equal predicates
            if not isinstance(part, Predicate):
                raise TypeError(f"{type(self).__name__} joins predicates, found {part!r}.")
            flat.extend(part.parts if isinstance(part, _Joined) and type(part) is type(self) else [part])
        if len(flat) < 2:
            raise ValueError(f"{type(self).__name__} joins at least two predicates, found {len(flat)}.")
        object.__setattr__(self, "parts", tuple(flat))


class And(_Joined):
    """All of them hold."""

    def _fits(self, window: Labelled) -> Sequence[bool]:
        return [all(fits) for fits in zip(*(part.holds(window) for part in self.parts), strict=True)]

    def __str__(self) -> str:
        return " & ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)

    def _plain(self) -> dict[str, Any]:
        return {"and": [part.to_json() for part in self.parts]}


class Or(_Joined):
    """At least one of them holds."""

    def _fits(self, window: Labelled) -> Sequence[bool]:
        return [any(fits) for fits in zip(*(part.holds(window) for part in self.parts), strict=True)]

    def __str__(self) -> str:
        return " | ".join(map(str, self.parts))

    def _plain(self) -> dict[str, Any]:
        return {"or": [part.to_json() for part in self.parts]}


@dataclass(frozen=True, repr=False)
class Not(Predicate):
    """The counted token does not fit."""

    part: Predicate

    def _fits(self, window: Labelled) -> Sequence[bool]:
        return [not fits for fits in self.part.holds(window)]

    def __str__(self) -> str:
        return f"~({self.part})" if isinstance(self.part, _Joined) else f"~{self.part}"

    def _plain(self) -> dict[str, Any]:
        return {"not": self.part.to_json()}


@dataclass(frozen=True, repr=False)
class After(Predicate):
    """The counted token before this one fits. False at a window's first counted token: what precedes is not seen.

    part: a predicate."""

    part: Predicate

    def _fits(self, window: Labelled) -> Sequence[bool]:
        return _moved(self.part.holds(window), window.counted)

    def __str__(self) -> str:
        return f"after({self.part})"

    def _plain(self) -> dict[str, Any]:
        return {"after": self.part.to_json()}


@dataclass(frozen=True, repr=False)
class Before(Predicate):
    """The counted token after this one fits. False at a window's last counted token.

    part: a predicate."""

    part: Predicate

    def _fits(self, window: Labelled) -> Sequence[bool]:
        return _moved(self.part.holds(window)[::-1], window.counted[::-1])[::-1]

    def __str__(self) -> str:
        return f"before({self.part})"

    def _plain(self) -> dict[str, Any]:
        return {"before": self.part.to_json()}


def _moved(fits: Sequence[bool], counted: Sequence[bool]) -> list[bool]:
    """What the last counted token before each said."""
    moved, last = [], False
    for fit, counts in zip(fits, counted, strict=True):
        moved.append(last)
        if counts:
            last = fit
    return moved


def from_json(data: Any, level: int = 0) -> Predicate:
    """The predicate that `to_json` wrote; ValueError where it is none."""
    if level > MOST_LEVELS:
        raise ValueError(f"the explanation is nested more than {MOST_LEVELS} levels deep.")
    if not isinstance(data, dict) or len(data) != 1:
        raise ValueError(f"a predicate is an object with one key, such as {{'concept': 'entity'}}, found {data!r:.80}.")
    [(key, value)] = data.items()
    if key == "concept" and isinstance(value, str):
        return Concept(value)
    if key in ("tokens", "words") and _are(str, value):
        return Tokens(frozenset(value), fold=key == "words")
    if key in ("and", "or") and isinstance(value, list):
        parts = tuple(from_json(part, level + 1) for part in value)
        return And(parts) if key == "and" else Or(parts)
    if key in ("not", "after", "before"):
        part = from_json(value, level + 1)
        return Not(part) if key == "not" else After(part) if key == "after" else Before(part)
    raise ValueError(
        f"a predicate has one of the keys concept (a name), tokens, words (lists of texts), and, or (lists of "
        f"predicates), not, after, before (a predicate), found {key!r}: {value!r:.80}."
    )


def _are(kind: type, values: object) -> bool:
    return (
        isinstance(values, Iterable)
        and not isinstance(values, (str, dict))
        and all(isinstance(v, kind) for v in values)
    )
