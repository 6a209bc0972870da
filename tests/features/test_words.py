"""The word around a token: pieces of text, code, scripts with and without spaces, and what is no word."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import saekit as sk
from saekit.features import schema
from saekit.features.words import commonest, word_at


@pytest.mark.parametrize(
    ("parts", "token", "word"),
    [
        ([" said", " L", "il", "y", "."], 1, "Lily"),
        ([" said", " L", "il", "y", "."], 3, "Lily"),
        ([" a", " ter", "rible", ","], 2, "terrible"),
        (["Once", " upon"], 0, "Once"),
        ([" end", "."], 1, "."),
        ([" end", " ."], 1, "."),
        ([" the", "\n\n", "  "], 2, "  "),
        ([" don", "'", "t", " go"], 0, "don't"),
        ([" don", "'t", " go"], 1, "don't"),
        ([" said", " '", "Go", "'", "."], 2, "Go"),
        (["19", "84", " was"], 1, "1984"),
        (["self", "._", "build", "_", "index", "(", "x"], 2, "_build_index"),
        (["self", "._", "build", "_", "index", "(", "x"], 5, "("),
        (["(", "x", "):", "\n    "], 2, "):"),
        (["(", "x", "):", "\n    "], 3, "\n    "),
        ([" Бор", "ис", " был"], 1, "Борис"),
        ([" caf", "e", "\u0301", "s"], 0, "cafe\u0301s"),
        ([" 한국", "어", "는"], 1, "한국어는"),
        (["我", "喜欢", "猫"], 1, "喜欢"),
        (["猫が", "好き", "です"], 1, "好き"),
        (["ฉัน", "รัก", "แมว"], 1, "รัก"),
        (["猫", "cat", "猫"], 1, "cat"),
        ([" x", "a" * 40, "b"], 2, "b"),
        (["hello", "<|user|>", "Hi"], 1, "<|user|>"),
    ],
)
def test_the_word_around_a_token(parts: list[str], token: int, word: str) -> None:
    assert word_at([part.encode() for part in parts], token) == word


def test_characters_spread_over_tokens() -> None:
    spread = [bytes([byte]) for byte in " né".encode()]
    assert word_at([*spread, b"e"], 2) == word_at([*spread, b"e"], 3) == "née"
    assert word_at([b"\x9f\x90", b" bear"], 1) == "bear"  # the window begins inside of a character
    assert word_at([b"\x9f", b"a"], 0) == "�"


def test_the_commonest_words_each_once() -> None:
    assert commonest(["the", "Lily", "lily", "The", "a", "LILY"], 2) == ["Lily", "the"]
    assert commonest(["b", "a"], 5) == ["b", "a"]
    assert commonest([], 3) == []


def test_a_store_is_read_by_whole_words(tiny_llama, tmp_path: Path) -> None:
    """The peaks of top examples, looked up in the text around them; a store of before has the tokens alone."""
    torch.manual_seed(0)
    site = "blocks.0.hook_resid_post"
    sae = sk.TopK(d_sae=20, k=3).build(sk.Wiring(site), {site: 16})
    texts = [f"{a} of Ludwigsburg, {b}!" for a in ("cats", "dogs", "men") for b in ("it", "wolves")]
    store = sk.FeatureStore.build(tiny_llama, sae, texts, tmp_path / "store", top=6, loss_examples=0)
    known = {word.strip(",!") for text in texts for word in text.split()} | {",", "!", "␣"}
    hints = store.listing()["hints"]
    words = {word for hint in hints for word in hint.split(" · ") if hint}
    assert words <= known and len(words & {"Ludwigsburg", "cats", "dogs", "wolves"}) > 1
    latent = int(store.latents().firings.argmax())
    tops = [example["pieces"][example["peak"]].strip() for example in store.examples(latent)]
    assert any(top in hints[latent] for top in tops)
    for file in schema.files_of(store.folder, store.manifest)["latents"]:
        pq.write_table(pq.ParquetFile(file).read().drop_columns("peak_words"), file)
    older = sk.FeatureStore.open(store.folder)
    assert len(older.listing()["hints"]) == 20 and any(older.listing()["hints"])
