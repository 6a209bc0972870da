"""What load_model refuses: models that are not causal, do not run, or are not what Hugging Face gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from saekit.models import load_model, trial

SMALL = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
OTHERS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "bert": ("BertConfig", "AutoModelForMaskedLM", {}, "in BertForMaskedLM later tokens of a row"),
    "roberta": ("RobertaConfig", "AutoModelForMaskedLM", {}, "in RobertaForMaskedLM later tokens of a row"),
    "t5": (
        "T5Config",
        "AutoModelForSeq2SeqLM",
        {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4},
        "T5ForConditionalGeneration has an encoder and a decoder",
    ),
    "bart": (
        "BartConfig",
        "AutoModelForSeq2SeqLM",
        SMALL | {"encoder_attention_heads": 4, "decoder_attention_heads": 4},
        "BartForConditionalGeneration has an encoder and a decoder",
    ),
    "vit": (
        "ViTConfig",
        "AutoModelForImageClassification",
        {"image_size": 8, "patch_size": 4},
        "ViTForImageClassification does not run on tokens alone",
    ),
    "helium": (
        "HeliumConfig",
        "AutoModelForCausalLM",
        {"num_key_value_heads": 2, "head_dim": 8},
        "TransformerLens knows no architecture 'HeliumForCausalLM'; the closest is '",
    ),
    "stablelm with one rotary dimension": (  # as TransformerLens runs it; its usual sizes are right
        "StableLmConfig",
        "AutoModelForCausalLM",
        {"num_key_value_heads": 2},
        "TransformerLens does not give the logits that Hugging Face gives for this StableLmForCausalLM",
    ),
}


@pytest.fixture(scope="module")
def saved(tiny_shape, tiny_tokenizer, tmp_path_factory) -> Callable[[str], Path]:
    """saved(name) → its folder."""
    import transformers

    def save(name: str) -> Path:
        kind, auto, more, _ = OTHERS[name]
        folder = tmp_path_factory.mktemp("trial") / "model"
        torch.manual_seed(0)
        model = getattr(transformers, auto).from_config(getattr(transformers, kind)(**tiny_shape | more))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_that_is_no_causal_one_is_refused_in_a_sentence(saved, name):
    with pytest.raises(ValueError, match=OTHERS[name][3]) as found:
        load_model(saved(name), device="cpu")
    assert len(str(found.value)) < 400 and "\n" not in str(found.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_that_change_each_other_are_found(tiny_llama_folder, dtype):
    """As experts of a fixed capacity do: what a row gives depends on the rows beside it."""
    model = load_model(tiny_llama_folder, device="cpu", dtype=dtype)
    trial.check_trial(model)
    handle = model.original_model.model.layers[0].mlp.register_forward_hook(lambda m, given, out: out + out.mean(0))
    with pytest.raises(ValueError, match="in LlamaForCausalLM later tokens of a row, or other rows, change"):
        trial.check_trial(model)
    handle.remove()


def test_a_bridge_that_gives_other_logits_is_found(tiny_llama_folder):
    model = load_model(tiny_llama_folder, device="cpu")
    model.original_model.model.layers[0].mlp.register_forward_hook(lambda m, given, out: 1.5 * out)
    with pytest.raises(ValueError, match=r"not give the logits that Hugging Face gives for this LlamaForCausalLM \("):
        trial.check_trial(model)
