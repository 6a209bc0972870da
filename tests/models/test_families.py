"""Activations, loss and cached generation under an edit equal Hugging Face's, family by family, in batches.

Tiny random models. Hugging Face runs each row alone; here they stand in one batch, padded on the right.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import saekit as sk
from saekit.models import forward, load_model

G: dict[str, Any] = {"num_key_value_heads": 2}
H = G | {"head_dim": 8}
OLD = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", OLD),
    "gptj": ("GPTJConfig", OLD | {"rotary_dim": 4}),
    "neo": ("GPTNeoConfig", {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4}),
    "neox": ("GPTNeoXConfig", {}),
    "opt": ("OPTConfig", {"ffn_dim": 24, "word_embed_proj_dim": 16}),
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}),  # ALiBi
    "mpt": ("MptConfig", {"d_model": 16, "n_heads": 4, "n_layers": 2, "max_seq_len": 32, "expansion_ratio": 2}),
    "falcon": ("FalconConfig", {"alibi": False}),
    "llama": ("LlamaConfig", G),
    "mistral": ("MistralConfig", G | {"sliding_window": 4}),
    "mixtral": ("MixtralConfig", G | {"num_local_experts": 4}),
    "qwen2": ("Qwen2Config", G | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}),
    "qwen3": ("Qwen3Config", H),
    "qwen3 moe": ("Qwen3MoeConfig", H | EXPERTS),
    "gemma": ("GemmaConfig", H),
    "gemma2": ("Gemma2Config", H | {"sliding_window": 4}),
    "gemma3": ("Gemma3TextConfig", H | {"sliding_window": 4}),
    "cohere": ("CohereConfig", {}),
    "granite": ("GraniteConfig", G | {"logits_scaling": 4.0, "residual_multiplier": 0.3, "embedding_multiplier": 3.0}),
    "olmo2": ("Olmo2Config", G),
    "phi3": ("Phi3Config", G),
    "starcoder2": ("Starcoder2Config", G | {"sliding_window": 4}),
    "gpt-oss": ("GptOssConfig", H | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4}),
    "mamba": ("MambaConfig", {"state_size": 4}),
}
ROWS = [torch.randint(5, 290, (n,), generator=torch.Generator().manual_seed(n)) for n in (13, 7, 2)]
SITE = "blocks.0.hook_resid_post"
VECTOR = 2 * torch.randn(16, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, save_tiny_model, tiny_shape, tmp_path_factory, one_thread) -> tuple[Any, Any]:
    """(the model, Hugging Face's own)."""
    import transformers

    kind, settings = FAMILIES[request.param]
    config = getattr(transformers, kind)(**tiny_shape | settings)
    folder = save_tiny_model(config, tmp_path_factory.mktemp("families") / "model")
    own = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return load_model(folder, device="cpu"), own.eval()


def block(own: Any) -> nn.Module:
    """The first of Hugging Face's list of blocks."""
    lists = (module for module in own.modules() if isinstance(module, nn.ModuleList) and len(module) == 2)
    return next(lists)[0]


def first(out: Any) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


def changed(module: nn.Module, given: Any, out: Any) -> Any:
    """VECTOR added to the residual stream behind a block."""
    return (out[0] + VECTOR, *out[1:]) if isinstance(out, tuple) else out + VECTOR


def test_activations_and_loss_are_hugging_faces_however_rows_are_grouped(pair):
    model, own = pair
    tokens = torch.full((len(ROWS), 13), 2)
    for r, row in enumerate(ROWS):
        tokens[r, : len(row)] = row
    lengths = torch.tensor([len(row) for row in ROWS])
    found = forward(model, tokens, SITE, lengths=lengths).kept[SITE]
    logits = forward(model, tokens, logits=True).logits
    seen: list[Tensor] = []
    handle = block(own).register_forward_hook(lambda module, given, out: seen.append(first(out)))
    for r, row in enumerate(ROWS):
        with torch.no_grad():
            expected = own(row[None]).logits[0]
        h = seen.pop()[0]
        assert (found[r, : len(row)] - h).abs().max() <= 1e-4 * h.abs().max()
        assert (logits[r, : len(row)] - expected).abs().max() <= 1e-4 * expected.abs().max()
        loss = nn.functional.cross_entropy(logits[r, : len(row) - 1], row[1:])
        assert abs(loss - nn.functional.cross_entropy(expected[:-1], row[1:])) < 1e-4
    handle.remove()


def test_generation_with_a_cache_under_an_edit_is_hugging_faces(pair):
    model, own = pair
    edit = sk.Edit(VECTOR, mode="add", strength=1.0, site=SITE)
    settings = {"max_new_tokens": 6, "do_sample": False}
    with sk.edited(model, edit), torch.no_grad():
        logits = model(ROWS[0][None])[0]
        made = model.generate(ROWS[0][None], return_type="tokens", verbose=False, **settings)
    handle = block(own).register_forward_hook(changed)
    with torch.no_grad():
        expected = own(ROWS[0][None]).logits[0]
        other = own.generate(ROWS[0][None], use_cache=True, pad_token_id=2, **settings)
    handle.remove()
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert made.tolist() == other.tolist()
