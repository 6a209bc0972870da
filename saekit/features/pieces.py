"""Tokens as a reader sees them: the bytes each adds to a text, and pieces that end where characters end.

A character of several bytes may be spread over several tokens. Shown one by one they would all be �; as one piece they
are the character. A piece is a single code point where it has to be: the parts of an emoji joined by zero-width joiners
stay apart, since each is text by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

BROKEN = "�"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class Piece:
    """The text of tokens `start` … `stop` − 1."""

    text: str
    start: int
    stop: int


def pieces(parts: Sequence[bytes]) -> list[Piece]:
    """Tokens, given as their bytes, merged where a UTF-8 character is spread over several and nowhere else.

    The pieces tile the tokens in order. A byte that belongs to no whole character is shown as �, one sign a byte. A
    token without bytes is a piece without text, unless it stands inside a character.
    """
    data = b"".join(parts)
    if data.isascii():  # most text, and every token is a piece: no need to look at each character
        return [Piece(part.decode(), token, token + 1) for token, part in enumerate(parts)]
    characters = dict(_characters(data))
    found, start, begin, end = [], 0, 0, 0
    for token, part in enumerate(parts):
        end += len(part)
        if end in characters:
            text = "".join(characters[at] for at in range(begin, end) if at in characters)
            found.append(Piece(text, start, token + 1))
            start, begin = token + 1, end
    return found


def _characters(data: bytes) -> Iterator[tuple[int, str]]:
    """Where each character begins, and the character; last the end of the data, with no text."""
    at = 0
    while at < len(data):
        lead = data[at]
        length = 1 if lead < 0xC2 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        try:
            character = data[at : at + length].decode()
        except UnicodeDecodeError:
            character, length = BROKEN, 1
        yield at, character
        at += length
    yield at, ""


def token_bytes(tokenizer: Any, ids: Iterable[int]) -> list[bytes]:
    """The bytes that each token adds to a text, for a Hugging Face tokenizer.

    Byte-level BPE and sentencepiece (with byte fallback) are read exactly; of other kinds the token is decoded alone.
    Special and added tokens are their text, and an id that the tokenizer does not have is `<unused…>`. A sentencepiece
    tokenizer puts a space before a text: its first token has it.
    """
    numbers = [int(token) for token in ids]
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    kinds = _decoders(tokenizer)
    found = []
    for number, token in zip(numbers, tokenizer.convert_ids_to_tokens(numbers), strict=True):
        if number in added:
            found.append(added[number].encode())
        elif token is None:
            found.append(f"<unused{number}>".encode())
        elif "ByteLevel" in kinds:
            found.append(_byte_level(token))
        elif "▁" in kinds:
            byte = _BYTE.fullmatch(token) if "ByteFallback" in kinds else None
            found.append(bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode())
        else:
            found.append(tokenizer.decode([number], clean_up_tokenization_spaces=False).encode())
    return found


def vocabulary(tokenizer: Any, size: int | None = None) -> tuple[list[bytes], list[bool]]:
    """The bytes of every token id from 0 up, and whether it is special.

    size: how many ids, such as the rows of a model's embedding, which may have more than the tokenizer uses; by default
    up to the largest id of the tokenizer.
    """
    if size is None:
        size = max(tokenizer.get_vocab().values(), default=-1) + 1
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special.update(tokenizer.all_special_ids)
    return token_bytes(tokenizer, range(size)), [number in special for number in range(size)]


def _decoders(tokenizer: Any) -> set[str]:
    """The steps by which the tokenizer turns tokens into text; "▁" where one of them makes spaces of it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return set()
    decoder = json.loads(backend.decoder.__getstate__())
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    kinds = {step["type"] for step in steps}
    if any(step["type"] == "Metaspace" or step.get("pattern") == {"String": "▁"} for step in steps):
        kinds.add("▁")
    return kinds


def _byte_letters() -> dict[str, int]:
    """GPT-2's letter for each byte: printable Latin-1 stands for itself, the others for the letters from Ā on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(own)]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(others)}


_LETTERS = _byte_letters()


def _byte_level(token: str) -> bytes:
    if all(letter in _LETTERS for letter in token):
        return bytes(_LETTERS[letter] for letter in token)
    return token.encode()  # the rule of the tokenizers library, for tokens outside of its alphabet
