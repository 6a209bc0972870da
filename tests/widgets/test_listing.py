"""What a store tells the browser of all latents and of its panels: saekit's side of the widget's protocol."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from written_store import write_store

from saekit.features.asking.definitions import definitions
from saekit.features.pieces import Piece
from saekit.features.showing.prompt import PromptFeatures

MANIFEST: dict[str, Any] = {
    "progress": {"counted": 15_000, "excluded": {"bos": 120, "special": 0, "cut": 3}},
    "settings": {"loss_examples": 4},
    "output_path": "the logits through the final norm",
    "provenance": {"model": "micro", "corpus": None},
    "dictionary": {"configuration": {"method": "AbsTopK", "k": 8}, "reads": ["x"], "writes": ["x"]},
}
PANELS = ["list", "density", "max", "f1", "loss_effect", "detection", "examples", "histogram", "logits"]
PANELS += ["neighbours", "prompt", "explanations"]


def test_a_signed_latent_is_listed_by_its_largest_size(tmp_path) -> None:
    """Latents of −10 … 8, 0 … 9 and one that never fired."""
    numbers = {"density": [0.1, 0.1, 0.0], "max_activation": [8.0, 9.0, 0.0], "min_activation": [-10.0, 0.0, 0.0]}
    store = write_store(tmp_path, 3, numbers)
    store.labels.add_explanation(1, "text", None, "you", 0.5, None)
    made = store.listing()
    assert made["columns"]["max"].tolist() == [10, 9, 0] and made["dead"].tolist() == [False, False, True]
    detection = made["columns"]["detection"]
    assert detection[1] == 0.5 and np.isnan(detection[[0, 2]]).all()
    assert np.isnan(made["columns"]["f1"]).all() and np.isnan(made["columns"]["loss_effect"]).all()


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
    assert "max |z|" in made["max"] and "largest |z|" in made["list"]
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
