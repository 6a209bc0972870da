"""What a kind gives to `load_pairs`: two prompts and what must follow the first."""

from __future__ import annotations

from typing import NamedTuple

from saekit.corpora.documents import Span


class Prompts(NamedTuple):
    """`answers` must follow `clean`; in `corrupt` the one thing that decides it is changed. Leading spaces belong to
    the answers. spans: what the words of `clean` are."""

    clean: str
    corrupt: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    spans: tuple[Span, ...] = ()
