"""bos_of: what a row of tokens begins with, by family and by tokenizer; model(text) begins the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from saekit.models import bos_of, load_model
from saekit.models.bos import begin_of

BOS, EOS, USER = 0, 1, 3
NAMES = {BOS: "<s>", EOS: "</s>", USER: "<|user|>"}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),  # a family for which TransformerLens prepends
    "gpt2": ("GPT2Config", {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "vocab_size": 298}),
    "qwen2": ("Qwen2Config", {"num_key_value_heads": 2}),  # families for which it does not
    "neox": ("GPTNeoXConfig", {}),
}


@pytest.fixture(scope="module")
def load(save_tiny_model, tiny_tokenizer, tiny_shape, tmp_path_factory) -> Callable[..., Any]:
    """load(family, before, after, **names): with a tokenizer that adds these ids by itself, and has these names."""
    import transformers
    from tokenizers import Tokenizer, processors

    def load(family: str, before: tuple[int, ...] = (), after: tuple[int, ...] = (), **names: str) -> Any:
        backend = Tokenizer.from_str(tiny_tokenizer.backend_tokenizer.to_str())
        if before or after:
            single = " ".join([*(NAMES[i] for i in before), "$A", *(NAMES[i] for i in after)])
            special = [(name, number) for number, name in NAMES.items()]
            backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=32, **names)
        kind, more = CONFIGS[family]
        folder: Path = save_tiny_model(
            getattr(transformers, kind)(**tiny_shape | more), tmp_path_factory.mktemp("bos") / family
        )
        tokenizer.save_pretrained(folder)
        return load_model(folder, device="cpu")

    return load


OWN = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("llama", OWN, BOS),
        ("gpt2", OWN, BOS),
        ("qwen2", OWN, None),
        ("neox", OWN, None),
        ("gpt2", {"bos_token": "</s>", "eos_token": "</s>"}, EOS),  # a bos that equals eos is a bos
        ("llama", {"eos_token": "</s>"}, None),  # eos never stands in its place
        ("gpt2", {"eos_token": "</s>"}, None),
        ("qwen2", {"eos_token": "</s>"}, None),
        ("neox", {"eos_token": "</s>"}, None),
        ("llama", {}, None),  # nor does the name that TransformerLens gives an eos where there is none
        ("qwen2", OWN | {"before": (BOS,)}, BOS),  # what a tokenizer adds by itself, whatever the family
        ("neox", OWN | {"before": (BOS,), "after": (EOS,)}, BOS),
        ("llama", {"eos_token": "</s>", "before": (BOS,)}, BOS),
        ("llama", {"eos_token": "</s>", "after": (EOS,)}, None),
        ("gpt2", {"bos_token": "<|not in the model|>", "eos_token": "</s>"}, None),
    ],
)
def test_a_row_begins_as_the_files_say_and_so_does_a_text_given_to_the_model(load, family, settings, expected):
    model = load(family, **settings)
    assert bos_of(model) == expected
    text = model.tokenizer("the cat", add_special_tokens=False)["input_ids"]
    assert model.to_tokens("the cat").tolist() == [[*([] if expected is None else [expected]), *text]]
    with torch.no_grad():
        assert torch.equal(model("the cat"), model(model.to_tokens("the cat")))
    assert bos_of(copy.deepcopy(model)) == expected


def test_micro_and_a_trained_llama_begin_with_their_bos(real_folder):
    assert bos_of(load_model("micro", device="cpu")) == 0
    assert bos_of(load_model(real_folder / "stories260K", device="cpu")) == 1


def test_what_a_dictionary_says_goes_before_the_rule(load):
    neox, none = load("neox", **OWN), load("neox", eos_token="</s>")
    assert bos_of(neox, prepend=True) == BOS and bos_of(none, prepend=True) is None
    assert bos_of(load("llama", **OWN), prepend=False) is None


def test_a_text_that_begins_with_two_tokens_is_refused(load):
    model = load("llama", before=(USER, BOS), **OWN)
    with pytest.raises(ValueError, match=r"begins a text with 2 tokens \(3, 0\).*give tokens instead of text"):
        bos_of(model)
    assert bos_of(model, prepend=False) is None


def test_a_bridge_of_somebodys_own_is_asked_when_it_is_needed(load):
    """As TransformerLens boots it: eos stands in its ``tokenizer.bos_token``."""
    from transformer_lens.model_bridge import TransformerBridge

    folder = load("llama", eos_token="</s>").tokenizer.name_or_path
    model = TransformerBridge.boot_transformers(folder, device="cpu")
    assert model.tokenizer.bos_token == "</s>" and bos_of(model) is None
    model.tokenizer.name_or_path = "/nowhere/any more"
    assert begin_of(model).has == EOS  # the best that is known of it
    model.tokenizer = None
    assert bos_of(model) is None
