"""Bytes of tokens against the text they were made from; pieces against Python's own decoding."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saekit.features.pieces import Piece, pieces, token_bytes, vocabulary

TEXTS = [
    "Once upon a time,\n\tthere was  a dog.\r\n",
    "👍🏽 and 👩‍👩‍👧‍👦, naïve café",
    "Борис сказал: «привет»",
    "漢字とかな、日本語。한국어",
    "<script>alert('&amp;')</script> \u202eabc\u202c \x00\x1b",
    "def f(x):\n    return x ** 2  # ½ €",
]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted(min(end, len(data)) for end in at)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(st.text(st.characters(codec="utf-8")), st.lists(st.integers(0, 60)))
def test_pieces_of_valid_text_are_the_text_and_no_longer_than_needed(text: str, at: list[int]) -> None:
    parts = cut(text.encode(), at)
    found = pieces(parts)
    assert "".join(piece.text for piece in found) == text
    assert [0, *(piece.stop for piece in found)] == [*(piece.start for piece in found), len(parts)]
    for piece in found:
        assert b"".join(parts[piece.start : piece.stop]).decode() == piece.text
        for inside in range(piece.start + 1, piece.stop):  # no piece could have been split
            with pytest.raises(UnicodeDecodeError):
                b"".join(parts[piece.start : inside]).decode()


@given(st.lists(st.binary(max_size=5)))
def test_any_bytes_are_tiled_and_none_is_lost(parts: list[bytes]) -> None:
    found = pieces(parts)
    assert [0, *(piece.stop for piece in found)] == [*(piece.start for piece in found), len(parts)]
    data = b"".join(parts)
    lost = sum(1 for character in "".join(piece.text for piece in found) if character == "�")
    lost -= data.decode("utf-8", "ignore").count("�")  # those that really stand there
    kept = "".join(piece.text for piece in found).replace("�", "")
    assert len(kept.encode()) + lost + 3 * data.decode("utf-8", "ignore").count("�") == len(data)
    if lost == 0:
        assert kept == data.decode().replace("�", "")


def test_by_hand() -> None:
    assert pieces([b"a", b"\xe2\x82", b"\xac", b" b"]) == [
        Piece("a", 0, 1),
        Piece("€", 1, 3),
        Piece(" b", 3, 4),
    ]
    assert pieces([b"x\xf0\x9f", b"\x90", b"\xbby", b"z"]) == [Piece("x🐻y", 0, 3), Piece("z", 3, 4)]
    # cut off at the end, a lone continuation, an overlong form, a surrogate: a sign a byte, nothing merged
    assert [piece.text for piece in pieces([b"a", b"\xe2", b"\x82"])] == ["a", "�", "�"]
    assert [piece.text for piece in pieces([b"\x82a", b"\xc0\x80", b"\xed\xa0\x80"])] == ["�a", "��", "���"]
    assert [piece.text for piece in pieces([b"\xe2\x82a"])] == ["��a"]
    assert pieces([b"", b"\xc3", b"", b"\xa9", b""]) == [Piece("", 0, 1), Piece("é", 1, 4), Piece("", 4, 5)]
    assert pieces([]) == []


@pytest.fixture(scope="module")
def micro_tokenizer() -> Any:
    from saekit.models import load_model

    return load_model("micro", device="cpu").tokenizer


@pytest.fixture(params=["tiny", "micro", "real"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "real":
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(request.getfixturevalue("real_folder") / "stories260K")
    return request.getfixturevalue(f"{request.param}_tokenizer")


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_of_a_texts_tokens_are_its_bytes(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    parts = token_bytes(tokenizer, ids)
    assert b"".join(parts).decode().removeprefix(" ") == text.removeprefix(" ")
    shown = "".join(piece.text for piece in pieces(parts))
    assert "�" not in shown and shown.removeprefix(" ") == text.removeprefix(" ")


def test_vocabulary_knows_special_tokens_and_single_bytes(tokenizer: Any) -> None:
    parts, special = vocabulary(tokenizer)
    assert len(parts) == len(special) == len(tokenizer)
    for number in tokenizer.all_special_ids:
        assert special[number] and parts[number].decode() == tokenizer.convert_ids_to_tokens(number)
    ordinary = [part for part, is_special in zip(parts, special, strict=True) if not is_special]
    assert {bytes([byte]) for byte in range(256)} <= set(ordinary)
    assert parts[7:40] == token_bytes(tokenizer, range(7, 40))


def test_every_ordinary_token_decodes_to_its_bytes(tokenizer: Any) -> None:
    parts, special = vocabulary(tokenizer)
    for number, (part, is_special) in enumerate(zip(parts, special, strict=True)):
        text = tokenizer.decode([number], clean_up_tokenization_spaces=False)
        if not is_special and "�" not in text:  # sentencepiece's decoder drops the space before a text
            assert part.decode() in (text, " " + text), number


def test_ids_beyond_the_tokenizer_are_said_to_be_unused(tiny_tokenizer: Any) -> None:
    parts, special = vocabulary(tiny_tokenizer, 300)
    assert parts[298:] == [b"<unused298>", b"<unused299>"] and special[298:] == [False, False]


def test_another_kind_of_tokenizer_is_decoded() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordPiece({"[UNK]": 0, "play": 1, "##ing": 2, "naïve": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    assert token_bytes(tokenizer, [1, 3, 0]) == [b"play", "naïve".encode(), b"[UNK]"]


def test_metaspace_without_byte_fallback_keeps_what_looks_like_a_byte() -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁a", -1.0), ("<0x41>", -2.0)], unk_id=0))
    unigram.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=unigram, unk_token="<unk>")
    assert token_bytes(tokenizer, [1, 2]) == [b" a", b"<0x41>"]


def test_added_tokens_of_spaces_are_spaces(tiny_tokenizer: Any) -> None:
    from copy import deepcopy

    tokenizer = deepcopy(tiny_tokenizer)
    tokenizer.add_tokens(["    ", "Ġé"])
    number = tokenizer.convert_tokens_to_ids("    ")
    assert token_bytes(tokenizer, [number, number + 1]) == [b"    ", "Ġé".encode()]
    assert vocabulary(tokenizer)[1][number] is False
