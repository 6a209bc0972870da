"""Tokenizers that are not of the size of the model, and what a token is shown as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.activations import token_strings, tokenize
from saekit.models import load_model

SITE = "blocks.1.hook_resid_post"
TEXT = ["the cat sat on the mat", "dog"]


@pytest.fixture(scope="module")
def load(tiny_tokenizer, tiny_shape, tmp_path_factory) -> Callable[..., Any]:
    """load(d_vocab, **names): a model of so many tokens with the tokenizer of 298, which has these names."""
    import transformers

    def load(vocabulary: int, **names: str) -> Any:
        folder: Path = tmp_path_factory.mktemp("tokenizers") / "model"
        config = transformers.LlamaConfig(**tiny_shape | {"vocab_size": vocabulary, "num_key_value_heads": 2})
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        backend = tiny_tokenizer.backend_tokenizer
        transformers.PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=32, **names).save_pretrained(
            folder
        )
        return load_model(folder, device="cpu")

    return load


def dictionary() -> Any:
    torch.manual_seed(0)
    return sk.TopK(d_sae=20, k=3).build(sk.Wiring(SITE), {SITE: 16})


def test_without_bos_eos_and_pad_every_number_is_there(load, tmp_path):
    """TransformerLens gives such a tokenizer an eos, and a pad, of an id that the model does not know."""
    model, sae = load(298), dictionary()
    assert model.tokenizer.pad_token_id == 298
    assert int(tokenize(model, TEXT).tokens.max()) < 298
    report = sk.evaluate(model, sae, TEXT)
    assert report.recovered is not None and report.recovered.tokens == 8 + 1
    sk.features_on(model, sae, TEXT[0])
    sk.FeatureStore.build(model, sae, TEXT, tmp_path / "store").logits(0)


def test_a_model_of_more_tokens_than_its_tokenizer_shows_all_of_them(load):
    model = load(304, bos_token="<s>", eos_token="</s>")
    assert token_strings(model, [262, 297, 298, 303])[2:] == ["<298>", "<303>"]
    shown = [row["token"] for row in sk.metrics.logit_lens(model, dictionary(), 3, count=304).rows[:304]]
    assert {"<298>", "<303>"} < set(shown)


def test_a_tokenizer_of_more_tokens_than_its_model_is_refused(load, tmp_path):
    model, sae = load(200, bos_token="<s>", eos_token="</s>"), dictionary()
    calls = [
        lambda: sk.activations.harvest(model, TEXT, SITE),
        lambda: sk.evaluate(model, sae, TEXT),
        lambda: sk.features_on(model, sae, TEXT[0]),
        lambda: sk.FeatureStore.build(model, sae, TEXT, tmp_path / "store"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"token '.+' the id \d+, and the model knows 0 … 199: load the tokenizer"):
            call()


def test_a_lens_tells_a_word_from_its_end_on_a_sentencepiece_model(real_folder):
    model = load_model(real_folder / "stories260K", device="cpu")
    sae = sk.TopK(d_sae=4, k=1).build(sk.Wiring(SITE), {SITE: 64})
    vocabulary = model.cfg.d_vocab
    shown = [row["token"] for row in sk.metrics.logit_lens(model, sae, 0, count=vocabulary).rows[:vocabulary]]
    assert " g" in shown and "g" in shown and shown.count("g") <= 2  # a letter, and its byte
