"""The word that a token is a piece of, as a reader sees it: what stands before and after it up to the word's ends."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from saekit.features.pieces import pieces

AROUND = 16  # tokens looked at before and after, each a letter at least
LONGEST = 32  # characters; of a longer one, such as a hash, the token alone
APOSTROPHES = "'’"
# Scripts that put no spaces between words, where a run of letters is a sentence: Thai to Lao, Burmese, Khmer, Chinese
# and Japanese. Their tokens are as near to words as it gets.
_SPACELESS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def word_at(parts: Sequence[bytes], token: int) -> str:
    """The word that a token is a piece of.

    parts: the bytes of neighbouring tokens. Letters, digits, underscores and apostrophes between letters make a word;
    of anything else, such as punctuation, it is the token alone, and so in scripts without spaces between words.
    Spaces at its ends are left out, unless there is nothing else.
    """
    found = pieces(parts)
    own = next(i for i, piece in enumerate(found) if piece.start <= token < piece.stop)
    text, alone = "".join(piece.text for piece in found), found[own].text
    if not alone.strip():
        return alone
    begin = sum(len(piece.text) for piece in found[:own])
    end = begin + len(alone.rstrip())
    begin += len(alone) - len(alone.lstrip())
    while begin > 0 and _joined(text, begin):
        begin -= 1
    while end < len(text) and _joined(text, end):
        end += 1
    return text[begin:end] if end - begin <= LONGEST else alone.strip()


def commonest(words: Iterable[str], most: int) -> list[str]:
    """Different words, the commonest first, of equally common ones that which came first; capitals make no difference,
    and each is written as it came first."""
    counts: Counter[str] = Counter()
    written: dict[str, str] = {}
    for word in words:
        key = word.casefold()
        counts[key] += 1
        written.setdefault(key, word)
    return [written[key] for key, _ in counts.most_common(most)]


def _joined(text: str, at: int) -> bool:
    """Whether the characters before and after a place are of one word."""
    before, after = text[at - 1], text[at]
    if before in APOSTROPHES:
        return at > 1 and text[at - 2].isalpha() and after.isalpha()
    if after in APOSTROPHES:
        return before.isalpha() and at + 1 < len(text) and text[at + 1].isalpha()
    return _inside(before) and _inside(after)


def _inside(character: str) -> bool:
    code = ord(character)
    if code < 128:
        return character.isalnum() or character == "_"
    if any(first <= code <= last for first, last in _SPACELESS):
        return False
    return character.isalnum() or unicodedata.category(character).startswith("M")
