"""Roles: which tokens of a pair's clean prompt decide what, by the field's names, and prompts whose roles stand alike.

Circuits are traced by position: an effect can be averaged over prompts only where the same position has the same role
in each. A role is a stretch of tokens [start, stop), counted in the prompt without BOS; "end" is the last token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from saekit.corpora.documents import Span
from saekit.corpora.microworld.prompts import Prompts

Roles = Mapping[str, tuple[int, int]]
Layout = tuple[tuple[str, tuple[int, int]], ...]
END = "end"


class Labelled(NamedTuple):
    """The text that bears one of these labels; of several the ``number``-th. says: "answer" or "wrong", only where the
    text is the first of these. missing: it may be."""

    labels: tuple[str, ...]
    number: int = 0
    says: str = ""
    missing: bool = False


ROLES: dict[str, dict[str, Labelled]] = {
    "ioi": {
        "indirect_object": Labelled(("mention.first",), says="answer"),
        "subject": Labelled(("mention.first",), says="wrong"),
        "subject_again": Labelled(("role.subject",)),
    },
    "greater_than": {"event": Labelled(("entity.event",)), "year": Labelled(("number.start_year",))},
    "agreement": {
        "subject": Labelled(("number.plural_subject", "number.singular_subject")),
        "attractor": Labelled(("attractor",)),
        "second_attractor": Labelled(("attractor",), 1, missing=True),
    },
    "docstring": {
        "function": Labelled(("code.function_name",)),
        "argument": Labelled(("code.argument.in_signature",), says="answer"),
        "last_parameter": Labelled(("code.argument.in_docstring",), -1),
    },
    "induction": {"answer_before": Labelled(("list.answer",)), "cue": Labelled(("list.cue",))},
    "pronouns": {"profession": Labelled(("entity.profession",)), "person": Labelled(("entity.person",))},
    "capitals": {"country": Labelled(("entity.country",))},
    "sentiment": {
        "reviewed": Labelled(("entity.reviewed",), missing=True),
        "adjective": Labelled(("sentiment.adjective",)),
        "second_adjective": Labelled(("sentiment.adjective",), 1, missing=True),
    },
    "refusal": {
        "verb": Labelled(("verb.violent", "verb.kind")),
        "victim": Labelled(("entity.living", "entity.thing")),
    },
    "entities": {"entity": Labelled(("entity.invented",))},
}
"""The roles of each task."""


def roles_of(task: str, prompts: Prompts, encode: Callable[[str], list[int]]) -> Roles:
    """The roles of a clean prompt as tokens, in reading order, and "end". encode: without special tokens."""
    found: dict[str, tuple[int, int]] = {}
    for name, wanted in ROLES.get(task, {}).items():
        span = _span(prompts, wanted)
        if span is not None:
            # What stands before a word is cut as it is without it: only the space between them belongs to the word.
            before = len(encode(prompts.clean[: span.start].rstrip(" ")))
            found[name] = (before, len(encode(prompts.clean[: span.end])))
    length = len(encode(prompts.clean))
    return dict(sorted(found.items(), key=lambda role: role[1])) | {END: (length - 1, length)}


def _span(prompts: Prompts, wanted: Labelled) -> Span | None:
    said = {"answer": prompts.answers, "wrong": prompts.wrong}.get(wanted.says)
    found = [
        span
        for span in prompts.spans
        if span.concept in wanted.labels and (said is None or prompts.clean[span.start : span.end] == said[0].strip())
    ]
    if wanted.missing and len(found) <= wanted.number:
        return None
    return found[wanted.number]


def layout_of(roles: Roles) -> Layout:
    """The same for prompts of one length whose roles stand at the same places."""
    return tuple(roles.items())


def spoken(roles: Roles) -> str:
    """Such as "indirect_object 3, subject 5, subject_again 11, end 19"."""
    places = [(name, start, f"–{stop - 1}" if stop > start + 1 else "") for name, (start, stop) in roles.items()]
    return ", ".join(f"{name} {start}{more}" for name, start, more in places)
