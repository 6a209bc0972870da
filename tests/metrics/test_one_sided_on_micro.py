"""Two models whose difference is known: micro, and a copy of it that has read pipelines, which micro never has.

A crosscoder over both is asked which latents are the copy's alone. They must fire where the difference is: in
pipelines, on text that neither the copy nor the crosscoder was trained on; random latents do not.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import saekit as sk

pytestmark = pytest.mark.slow

SITE = "blocks.3.hook_resid_post"


def mixture(split: str, share: float, seed: int = 0, n: int | None = None) -> sk.Corpus:
    """The microworld, and pipelines as so large a share of the characters."""
    parts = [sk.load_corpus("microworld", split, seed=seed), sk.load_corpus("pipelines", split, seed=seed, n=n)]
    return sk.corpora.mixed(parts, shares=[1 - share, share])


@pytest.fixture(scope="module")
def compared(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], sk.Run, Any]:
    """The models, the run, and the copy's ten most one-sided latents beside ten random ones."""
    model = sk.load_model("micro", device="cpu")
    out = tmp_path_factory.mktemp("models") / "copy"
    copy = sk.models.fine_tune(model, mixture("train", 0.5, seed=7), out, tokens=80_000, lr=1e-3)
    models = {"base": model, "copy": copy}
    text = mixture("train", 0.25)
    x = {
        f"{name}:{SITE}": sk.activations.harvest(m, text, SITE, tokens=60_000).flat(SITE) for name, m in models.items()
    }
    run = sk.train(x, sk.Wiring(list(x)), sk.TopK(d_sae=1024, k=16), tokens=800_000, callback=lambda _: None)
    return models, run, sk.metrics.one_sided(models, run, mixture("heldout", 0.25, n=120), of="copy", tokens=12_000)


def test_what_the_copy_alone_has_fires_where_it_read_more(compared: tuple[dict[str, Any], sk.Run, Any]) -> None:
    _, _, found = compared
    print(found)
    assert found.telling in ("pipeline", "kind.pipelines")
    own, random = found.fires_in("pipeline")
    assert 0.15 < float(found.usual[found.names.index("pipeline")]) < 0.35
    assert int((own >= 0.8).sum()) >= 7, own  # 8 seen; 10 with a copy that read twice as much, for each of three seeds
    assert int((random >= 0.8).sum()) <= 3 and own.mean() > random.mean() + 0.3, random


def test_the_copy_has_learned_what_is_next_and_the_model_knows_it_not(
    compared: tuple[dict[str, Any], sk.Run, Any],
) -> None:
    """At the token before a part the right one of sixteen is the likeliest, far more often than by chance (.06)."""
    models, _, _ = compared
    right = {}
    documents = sk.load_corpus("pipelines", "heldout", n=12)
    for name, model in models.items():
        hits = []
        for document in documents:
            rows = sk.activations.tokenize(model, [document.text])
            due = sk.activations.concept_masks(rows, [document])["pipeline.part.next"][0].nonzero().flatten()
            with torch.no_grad():
                best = model(rows.tokens)[0].argmax(-1)
            hits += (best[due - 1] == rows.tokens[0, due]).tolist()
        right[name] = sum(hits) / len(hits)
    print(f"the next part is told right: {right}")
    assert right["copy"] > 0.3 and right["base"] < 0.05
