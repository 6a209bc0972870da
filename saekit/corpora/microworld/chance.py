"""Seeded drawing that gives the same bytes on every Python: only `random.Random(seed).random()`, whose sequence
Python promises to keep."""

from __future__ import annotations

import hashlib
import random
import zlib
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
TRIES = 5_000  # draws for a split before it is said that there are none


class Words(tuple[str, ...]):
    """A list of words, the frequent first: `Draw.zipf` gives the word of rank r (from 0) a weight of 1/(r + 4)."""

    cumulative: list[float]

    def __new__(cls, words: str | Sequence[str]) -> Words:
        """From a sequence, or from words written "a|b|c"."""
        made = super().__new__(cls, words.split("|") if isinstance(words, str) else words)
        total, made.cumulative = 0.0, []
        for rank in range(len(made)):
            total += 1 / (rank + 4)
            made.cumulative.append(total)
        return made


class Draw:
    """Everything random that a generator needs, from one seed."""

    def __init__(self, *seed: object):
        digest = hashlib.blake2b(repr(seed).encode(), digest_size=8).digest()
        self.uniform = random.Random(int.from_bytes(digest, "little")).random
        self.correlation: float | None = None  # load_corpus's dial, for the biographies

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def choose(self, items: Sequence[Item]) -> Item:
        """One of the items, each as likely as the other."""
        return items[int(self.uniform() * len(items))]

    def zipf(self, words: Words) -> str:
        """One of the words, the frequent ones more often."""
        cumulative = words.cumulative
        return words[bisect(cumulative, self.uniform() * cumulative[-1])]

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` different items."""
        left = list(items)
        return [left.pop(int(self.uniform() * len(left))) for _ in range(count)]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """All of the items in a new order."""
        return self.sample(items, len(items))

    def zipf_pair(self, words: Words) -> tuple[str, str]:
        """Two different words."""
        first = second = self.zipf(words)
        while second == first:
            second = self.zipf(words)
        return first, second


def held_out(one_in: int, *parts: str) -> bool:
    """Whether this combination is kept from training: one in `one_in`, by a stable hash (CRC-32)."""
    return zlib.crc32("\x1f".join(parts).encode()) % one_in == 0


def draw_phrases(split: str, kind: str, draw_one: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Phrases for the split: one combination of trained phrases in eight is kept for heldout; unseen phrases combine
    freely."""
    for _ in range(TRIES):
        phrases = draw_one()
        if split.startswith("unseen") or held_out(8, kind, *phrases) == (split == "heldout"):
            return phrases
    raise ValueError(f"{kind!r} has too few phrases: no combination of them is for {split!r}; add some to its slots.")


def draw_fillers(split: str, kind: str, draw_one: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Fillers for the split: one combination in ten is never trained, and only those stand in the other splits."""
    for _ in range(TRIES):
        fillers = draw_one()
        if held_out(10, kind, *fillers) == (split != "train"):
            return fillers
    raise ValueError(f"{kind!r} has too few fillers: no combination of them is for {split!r}.")


def draw_filler(split: str, kind: str, draw_one: Callable[[], str], beside: str) -> str:
    """One filler for a phrase: one pair of the two in ten is never trained."""
    return draw_fillers(split, kind, lambda: (draw_one(), beside))[0]
