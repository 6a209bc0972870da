"""What a kind gives to `load_pairs`: two prompts and what must follow the first."""

from __future__ import annotations

from typing import NamedTuple


class Prompts(NamedTuple):
    """`answers` must follow `clean`; in `corrupt` the one thing that decides it is changed. Leading spaces belong to
    the answers."""

    clean: str
    corrupt: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
