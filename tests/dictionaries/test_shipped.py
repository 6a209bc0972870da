"""What ships with micro: loads by name, keeps the model's predictions, and is small."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import saekit as sk
from saekit.making.shipped import RECIPES
from saekit.metrics import recovered

PREDICTIONS = 2_000
MOST_BYTES = 15_000_000  # of models, dictionaries and text
CODE = {".py", ".pyc"}


@pytest.fixture(scope="module")
def model() -> Any:
    return sk.load_model("micro")


@pytest.fixture(scope="module")
def rows(model: Any) -> Any:
    texts = [document.text for document in islice(sk.load_corpus("microworld", split="heldout"), 200)]
    return sk.activations.tokenize(model, texts, exclude=())


@pytest.mark.parametrize("name", RECIPES)
def test_each_is_what_its_recipe_says(name: str, model: Any) -> None:
    sae, recipe = sk.load_dictionary(f"micro/{name}"), RECIPES[name]
    assert sae.wiring == recipe.wiring and sae.method == recipe.method
    assert sae.provenance.model_hash == model.model_hash and sae.provenance.tokens <= recipe.tokens
    assert sae.provenance.tokens > recipe.tokens - 1024


def test_transcoders_keep_nine_tenths_of_what_their_mlps_are_for(model: Any, rows: Any) -> None:
    transcoders = [sk.load_dictionary(f"micro/blocks.{layer}.mlp") for layer in range(4)]
    alone = [recovered(model, each, rows, PREDICTIONS).ce_recovered for each in transcoders]
    together = recovered(model, transcoders, rows, PREDICTIONS).ce_recovered
    print(f"CE recovered: {[round(share, 3) for share in alone]}, together {together:.3f}")
    assert min(alone) >= 0.9 and together >= 0.9


def test_the_cross_layer_transcoder_takes_the_place_of_all_mlps(model: Any, rows: Any) -> None:
    """Four transcoders of its size, 4 · 384 latents, reach .845 (saekit/dictionaries/shapes.md)."""
    share = recovered(model, sk.load_dictionary("micro/cross_layer"), rows, PREDICTIONS).ce_recovered
    print(f"CE recovered: {share:.3f}")
    assert share >= 0.84


def test_all_that_ships_is_small() -> None:
    root = Path(sk.__file__).parent
    kept = [root / "dictionaries" / "shipped", root / "models" / "micro", root / "corpora"]
    files = [path for folder in kept for path in folder.rglob("*") if path.is_file() and path.suffix not in CODE]
    size = sum(path.stat().st_size for path in files)
    print(f"{size / 1e6:.2f} MB ship")
    assert size <= MOST_BYTES
