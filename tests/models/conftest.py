"""What tests of models share: a tiny random model of every family."""

from __future__ import annotations

from typing import Any

import pytest

from saekit.models import load_model

GROUPED = {"num_key_value_heads": 2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "neox": ("GPTNeoXConfig", {"use_parallel_residual": True}),
    "neox_serial": ("GPTNeoXConfig", {"use_parallel_residual": False}),
    "gemma2": ("Gemma2Config", GROUPED | {"head_dim": 4}),
    "qwen2": ("Qwen2Config", GROUPED),
    "olmo": ("OlmoConfig", GROUPED),
    "olmo2": ("Olmo2Config", GROUPED),
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}),
    "granite": ("GraniteConfig", GROUPED | {"residual_multiplier": 0.3}),
}


@pytest.fixture(scope="module", params=["gpt2", "llama", *FAMILIES])
def family(request, save_tiny_model, tiny_shape, tmp_path_factory) -> tuple[str, Any]:
    """(name, model) of each family in turn."""
    if request.param in ("gpt2", "llama"):
        return request.param, request.getfixturevalue(f"tiny_{request.param}")
    import transformers

    kind, settings = FAMILIES[request.param]
    config = getattr(transformers, kind)(**tiny_shape | settings)
    folder = save_tiny_model(config, tmp_path_factory.mktemp("families") / request.param)
    return request.param, load_model(folder, device="cpu")
