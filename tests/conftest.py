"""What tests of several packages share: a browser, tiny random models, the real model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# There are as many workers as processors, so each has one thread, and so has what it starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT / ".." / "shared" / "real"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright; skips with the reason where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed and CHROMIUM is not set")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=path, args=[*quiet, "--disable-component-update", "--disable-sync"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tensors this small only lose by threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """../shared/real: a trained model and text that nobody here made; skips where it is absent."""
    if not (REAL / "stories260K" / "config.json").is_file():
        pytest.skip("the real inputs in ../shared/real are absent")
    return REAL


# -- tiny random models: 2 layers, d_model 16, context 32, a byte-level tokenizer of 298 tokens ------------------------

SPECIAL = ("<s>", "</s>", "<pad>", "<|user|>", "<|end|>")
MERGES = (
    "t h|th e|Ġ the|i n|e r|o n|r e|a n|an d|Ġ and|Ġ a|Ġ s|Ġ c|a t|Ġc at|s at|o u|i s|i t|Ġ w|o r|Ġ o|Ġ is|in g|"
    "e d|Ġ b|Ġ f|Ġ m|h e|Ġ he|t o|Ġ to|Ġ in|Ġ p|Ġ d|o g|Ġd og"
)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Byte-level BPE with hand-written merges: 5 special tokens (BOS "<s>", pad "<pad>"), 256 bytes, words' pieces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for left, right in (pair.split(" ") for pair in MERGES.split("|")):
        if left in tokens and right in tokens and left + right not in tokens:
            merges.append((left, right))
            tokens.append(left + right)
    assert len(tokens) <= 300
    bpe = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=["<|user|>", "<|end|>"],
        model_max_length=32,
    )


@pytest.fixture(scope="session")
def save_tiny_model(tiny_tokenizer: Any) -> Callable[[Any, Path], Path]:
    """save(config, folder) → folder: a causal model with every parameter random (seed 0, norms and biases too)."""
    import torch
    from transformers import AutoModelForCausalLM

    def save(config: Any, folder: Path) -> Path:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = 0.25 * torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise + (parameter.ndim == 1 and name.endswith("weight")))  # norms scale by about 1
        model.save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_shape() -> dict[str, Any]:
    """Settings that most configurations of transformers share."""
    return {
        "vocab_size": 300,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 32,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }


@pytest.fixture(scope="session")
def tiny_gpt2_folder(save_tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 as a Hugging Face folder."""
    from transformers import GPT2Config

    config = GPT2Config(
        vocab_size=300, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=1, pad_token_id=2
    )
    return save_tiny_model(config, tmp_path_factory.mktemp("models") / "tiny_gpt2")


@pytest.fixture(scope="session")
def tiny_llama_folder(
    save_tiny_model: Any, tiny_shape: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A random Llama (grouped-query attention) as a Hugging Face folder."""
    from transformers import LlamaConfig

    config = LlamaConfig(**tiny_shape, num_key_value_heads=2)
    return save_tiny_model(config, tmp_path_factory.mktemp("models") / "tiny_llama")


@pytest.fixture(scope="session")
def tiny_gpt2(tiny_gpt2_folder: Path) -> Any:
    """The random GPT-2, loaded by load_model; do not change it."""
    from saekit.models import load_model

    return load_model(tiny_gpt2_folder, device="cpu")


@pytest.fixture(scope="session")
def tiny_llama(tiny_llama_folder: Path) -> Any:
    """The random Llama, loaded by load_model; do not change it."""
    from saekit.models import load_model

    return load_model(tiny_llama_folder, device="cpu")


@pytest.fixture(scope="session")
def tiny_copy_folder(tiny_gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random GPT-2 with one block's weights moved, as a fine-tuned copy is."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("models") / "copy"
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2_folder)
    with torch.no_grad():  # each weight its own way: what is alike in all of a stream's numbers, norms take away
        weight = model.transformer.h[0].mlp.c_proj.weight
        weight += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_gpt2_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_copy(tiny_copy_folder: Path) -> Any:
    """That copy, loaded by load_model; do not change it."""
    from saekit.models import load_model

    return load_model(tiny_copy_folder, device="cpu")
