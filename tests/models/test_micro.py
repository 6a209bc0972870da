"""The shipped model: it loads offline from its plain folder, and does what its card says, on held-out items."""

from __future__ import annotations

import socket
import time

import pytest
import torch

from saekit.corpora.microworld.words import NAMES
from saekit.making.card import MICRO
from saekit.making.measure import ROWS, row_pairs, score


@pytest.fixture(scope="module")
def micro():
    """Model and tokenizer, with every connection refused meanwhile."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def refuse(*_):
        raise AssertionError("loading micro asked for the network")

    before, socket.socket.connect = socket.socket.connect, refuse
    torch.set_num_threads(1)
    try:
        model = AutoModelForCausalLM.from_pretrained(MICRO, local_files_only=True, dtype=torch.float32)
        return model.eval(), AutoTokenizer.from_pretrained(MICRO, local_files_only=True)
    finally:
        socket.socket.connect = before


def test_the_folder_is_plain_and_small(micro):
    model, tokenizer = micro
    assert model.config.model_type == "llama" and model.config.tie_word_embeddings
    assert len(tokenizer) == model.config.vocab_size == 4096 and tokenizer.is_fast
    assert tokenizer.bos_token == tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"
    assert sum(path.stat().st_size for path in MICRO.iterdir() if path.is_file()) < 4e6
    assert (MICRO / "README.md").is_file()


def test_tokenizer(micro):
    _, tokenizer = micro
    text = "When Mary paid 1732 to Zoë."
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert tokenizer.decode(encoded["input_ids"]) == text
    assert tokenizer.encode("Mary") == tokenizer.encode("Mary", add_special_tokens=False)  # BOS is saekit's to add
    pieces = [text[start:end].strip() for start, end in encoded["offset_mapping"]]
    assert {"Mary", "17", "32"} <= set(pieces)
    assert all(len(tokenizer.encode(" " + name)) == 1 for name in NAMES)


@pytest.mark.parametrize(("task", "least"), [("agreement, all attractors opposite", 0.7), ("greater_than", 0.6)])
def test_clearly_above_chance_on_held_out_items(micro, task, least):
    """Chance is .5 for agreement (copying the nearest noun: 0) and about .5 for greater-than."""
    model, tokenizer = micro
    row = next(row for row in ROWS if row.name == task)
    found, _ = score(model, tokenizer, row_pairs(tokenizer, row, 120, "heldout"), row.kind)
    print(task, round(found, 3))
    assert found > least


@pytest.mark.timing
def test_seconds_to_load():
    """Budget: 3 s beyond importing torch and transformer-lens."""
    import transformer_lens.model_bridge  # noqa: F401

    from saekit.models import load_model

    began = time.perf_counter()
    load_model("micro")
    seconds = time.perf_counter() - began
    print(f"load_model('micro'): {seconds:.1f} s (budget 3)")
    assert seconds < 9
