"""What a store tells the browser of all latents and of its panels: saekit's side of the widget's protocol."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saekit.features.asking.definitions import definitions
from saekit.features.asking.listing import listing
from saekit.features.pieces import Piece
from saekit.features.showing.prompt import PromptFeatures

MANIFEST: dict[str, Any] = {
    "progress": {"counted": 15_000, "excluded": {"bos": 120, "special": 0, "cut": 3}},
    "settings": {"loss_examples": 4},
    "output_path": "the logits through the final norm",
    "provenance": {"model": "micro", "corpus": None},
    "dictionary": {"configuration": {"method": "AbsTopK", "k": 8}, "reads": ["x"], "writes": ["x"]},
}
PANELS = ["list", "density", "maximum", "concept", "loss_effect", "examples", "histogram", "logits", "neighbours"]
PANELS += ["prompt", "explanations"]


def test_a_signed_latent_is_listed_by_its_largest_size() -> None:
    """Latents of −10 … 8, 0 … 9 and one that never fired."""
    columns = {
        "density": np.array([0.1, 0.1, 0.0]),
        "most": np.array([8.0, 9.0, 0.0]),
        "least": np.array([-10.0, 0.0, 0.0]),
        "loss_effect": np.full(3, np.nan),
        "f1": np.full(3, np.nan),
        "concept": np.array(["", "", ""]),
    }
    store: Any = SimpleNamespace(
        database=SimpleNamespace(columns=lambda query: columns, rows=lambda query: [{"peak_tokens": None}] * 3),
        labels=SimpleNamespace(best_scores=lambda: {1: 0.5}, all=dict),
        d_sae=3,
        manifest=MANIFEST,
        folder="stores/first",
    )
    made = listing(store)["columns"]
    assert made["max"].tolist() == [10, 9, 0]
    assert made["detection"][1] == 0.5 and np.isnan(made["detection"][[0, 2]]).all()


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("output", ["the logits through the final norm", None])
def test_every_panel_says_what_it_is_over_which_tokens_and_without_what(panel: str, output: str | None) -> None:
    made = definitions(MANIFEST | {"output_path": output})
    assert list(made) == PANELS
    text = made[panel]["text"]
    assert made[panel]["title"] and made[panel]["code"].startswith(("store.", "sk."))
    assert re.search(r"[Oo]ver (15,000|held-out|the first 15,000|no token|the tokens of your prompt)", text)
    assert re.search(r"left out", text)


def test_signed_codes_neighbours_and_exclusions_are_defined() -> None:
    made = {panel: words["text"] for panel, words in definitions(MANIFEST).items()}
    assert "left out: 120 bos, 3 cut" in made["examples"] and "(0, strongest], by |z|" in made["examples"]
    assert "max |z|" in made["maximum"] and "largest |z|" in made["list"]
    assert "left out: the latent itself" in made["neighbours"] and "first 15,000 counted tokens" in made["neighbours"]
    long = definitions(MANIFEST | {"progress": {"counted": 10**8, "excluded": {}}})
    assert "first 1,048,576 counted tokens" in long["neighbours"]["text"]
    assert "left out: nothing" in long["density"]["text"]


def test_on_a_prompt_what_never_fired_in_the_store_comes_first() -> None:
    """Minus the lowest of nothing is −0: its sign must not send the latent to the end."""
    made = PromptFeatures(
        tokens=np.array([5]),
        positions=np.array([0]),
        counted=np.array([True]),
        latents=np.array([0, 1]),
        values=np.array([[3.0], [0.1]], np.float32),
        maxima=np.array([4.0, 4.0], np.float32),
        pieces=[Piece("a", 0, 1)],
        cut=0,
        seconds=0.0,
    )
    assert made.view(np.array([4.0, -0.0]))["latents"] == [1, 0]
    assert made.view(np.array([4.0, 0.0]))["latents"] == [1, 0]
