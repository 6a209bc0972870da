"""On the embedded model, judged on held-out text: end to end, a transcoder, a crosscoder over three layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import saekit as sk

pytestmark = pytest.mark.slow

SITE = "blocks.2.hook_resid_post"
TOPK = sk.TopK(d_sae=256, k=16)


@pytest.fixture(scope="module")
def train(one_thread: None) -> Any:
    model = sk.load_model("micro", device="cpu")

    def run(wiring: Any, method: sk.Method, tokens: int = 60_000) -> tuple[sk.Run, sk.Report]:
        corpus, heldout = sk.load_corpus("microworld"), sk.load_corpus("microworld", split="heldout")
        settings: dict[str, Any] = {"tokens": tokens, "batch_size": 512, "callback": lambda _: None}
        trained = sk.train(model, wiring, method, corpus, dtype=torch.float32, **settings)
        return trained, sk.evaluate(model, trained.dictionary, heldout, tokens=6_000, ce_tokens=3_000)

    return run


def test_end_to_end_keeps_more_of_the_predictions_than_the_squared_error(train: Any) -> None:
    """At equal tokens and L0 the model's predictions on held-out text lose less; zero ablation is 0."""
    ours, report = train(SITE, sk.EndToEnd(TOPK))
    _, plain = train(SITE, TOPK)
    print(f"KL recovered: end to end {report.kl_recovered:.3f}, squared error {plain.kl_recovered:.3f}")
    assert ours.records[-1]["kl"] < 0.5 * ours.records[0]["kl"]
    assert report.kl_recovered > plain.kl_recovered > 0.5
    assert report.l0 == pytest.approx(16, abs=0.1) and plain.l0 == pytest.approx(16, abs=0.1)


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_stands_in_for_its_mlp(train: Any, skip: bool) -> None:
    run, report = train(sk.Wiring.transcoder(2), sk.TopK(d_sae=256, k=16, skip=skip))
    print(f"skip={skip}: explained variance {report.explained_variance:.3f}, CE recovered {report.ce_recovered:.3f}")
    assert report.explained_variance > 0.4 and report.ce_recovered > 0.5
    assert run.dictionary.reads != run.dictionary.writes


def test_a_crosscoder_explains_each_of_its_layers(train: Any) -> None:
    run, report = train(sk.Wiring.crosscoder([0, 1, 2]), TOPK)
    sae = run.dictionary
    model = sk.load_model("micro", device="cpu")
    acts = sk.activations.harvest(model, sk.load_corpus("microworld", split="heldout"), list(sae.reads), tokens=4_000)
    x = {site: acts.flat(site) for site in sae.reads}
    each = [sk.metrics.explained_variance(x[site], x_hat) for site, x_hat in sae(x).items()]
    print(f"explained variance {report.explained_variance:.3f}, by layer {[round(share, 3) for share in each]}")
    assert report.explained_variance > 0.6 and min(each) > 0.5
