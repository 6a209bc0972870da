"""BatchTopK's threshold: the dictionary that training gives back has the L0 it was trained at, however short it was."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.objectives import Batch, State

K = 8
METHOD = sk.BatchTopK(d_sae=96, k=K)
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat", "hen")]
train = functools.partial(sk.train, callback=lambda _: None, dtype=torch.float32)


@pytest.fixture(autouse=True)
def threads(one_thread: None) -> None: ...


def planted(n: int, seed: int = 0) -> torch.Tensor:
    """Sums of a few of 64 directions in 16 dimensions, with a mean."""
    g = torch.Generator().manual_seed(7)
    directions = torch.nn.functional.normalize(torch.randn(64, 16, generator=g), dim=1)
    g = torch.Generator().manual_seed(seed)
    on = torch.rand(n, 64, generator=g) < 0.08
    return (on * torch.rand(n, 64, generator=g)) @ directions * 3 + 2


def l0(sae: Any, x: Any) -> float:
    return sk.metrics.l0(sae.encode(x))


@pytest.mark.parametrize("steps", [1, 19, 97, 195, pytest.param(2000, marks=pytest.mark.slow)])
def test_l0_is_that_of_training_at_any_length(steps):
    size = 1024 if steps < 50 else 128
    x = planted(min(steps * size, 100_000))
    run = train(x, None, METHOD, tokens=steps * size, batch_size=size)
    assert run.records[-1]["l0"] == pytest.approx(K, rel=0.01)
    assert l0(run.dictionary, x) == pytest.approx(K, rel=0.05)
    assert l0(run.dictionary, planted(20_000, seed=1)) == pytest.approx(K, rel=0.10)


def test_the_threshold_against_brute_force():
    """Between the k · n-th and the next of all positive u, in float64; fewer than k · n positive ones: 0."""
    sae = sk.BatchTopK(d_sae=24, k=2.5).build(sk.Wiring("x"), {"x": 16}).double()
    x = planted(101).double()
    sae.finalise(Batch.of(x), State())
    u = sae.pre_activations(x).flatten().sort(descending=True).values
    wanted = int(2.5 * 101)
    assert u[wanted] < sae.threshold < u[wanted - 1]
    assert int(sae.eval().encode(x).l0.sum()) == wanted
    with torch.no_grad():
        sae.encoder_bias.fill_(-1e3)
        sae.encoder_bias[0] = 1e3
    sae.finalise(Batch.of(x), State())
    assert float(sae.threshold) == 0 and sae.encode(x).l0.unique().tolist() == [1]


def test_no_token_stands_on_the_threshold():
    """Where the k · n-th and the next of all are equal, as tokens that begin alike give, rounding would say which
    of them fire, and folding the scales in would change what was trained."""
    sae = sk.BatchTopK(d_sae=24, k=1).build(sk.Wiring("x"), {"x": 16}).double()
    x = planted(50).double()
    u = sae.pre_activations(x).amax(1)
    x = torch.cat([x, x[u.argsort()[20]].expand(30, -1)])  # thirty tokens more that are all alike
    sae.finalise(Batch.of(x), State())
    gap = (sae.pre_activations(x) / sae.threshold - 1).abs().min()
    assert gap > 1e-4
    folded = copy.deepcopy(sae).eval()
    folded.rescale({"x": 1 / 3})
    assert torch.equal(folded.encode(x / 3).indices, sae.eval().encode(x).indices)
    same = x[-1:].expand(40, -1)
    sae.finalise(Batch.of(same), State())
    assert (sae.pre_activations(same) - sae.threshold).abs().min() > 1e-7, "all of them alike"


@pytest.mark.parametrize(
    "wiring", [sk.Wiring("a", "b"), sk.Wiring(["a", "b"]), sk.Wiring(["a", "b"], each=True)], ids=str
)
def test_however_it_is_wired(wiring):
    x = {"a": planted(3000), "b": 5 * planted(3000).flip(1)}
    sae = train(x, wiring, METHOD, tokens=15_000, batch_size=256).dictionary
    found = [l0(sae, some) for some in ([{"a": x["a"]}, {"b": x["b"]}] if wiring.each else [x])]
    assert sum(found) / len(found) == pytest.approx(K, rel=0.05)


def test_inside_another_method(tiny_gpt2):
    site = "blocks.1.hook_resid_post"
    method = sk.EndToEnd(sk.BatchTopK(d_sae=32, k=3))
    sae = train(tiny_gpt2, site, method, TEXTS, tokens=2000, batch_size=100, lr=1e-2).dictionary
    x = sk.activations.harvest(tiny_gpt2, TEXTS, site).flat(site)
    assert l0(sae, x) == pytest.approx(3, rel=0.05)


def test_stopped_and_gone_on_with_it_is_the_same(tmp_path, monkeypatch):
    """Also where a run is killed after its last step, before its dictionary is written."""
    x, size = planted(3000), 64
    begin = functools.partial(train, x, None, METHOD, tokens=size * 30, batch_size=size)

    def stop(progress):
        if progress.tokens == size * 20:
            raise KeyboardInterrupt

    whole = begin().dictionary
    part = begin(out=tmp_path, callback=stop)
    assert not part.finished
    assert l0(part.dictionary, x[:2000]) == pytest.approx(K, rel=0.05)
    with monkeypatch.context() as broken:
        broken.setattr("saekit.training.loop._finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            begin(out=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").is_file()
    again = begin(out=tmp_path).dictionary
    assert torch.equal(again.threshold, whole.threshold) and float(whole.threshold) > 0


@pytest.mark.parametrize(
    "method", [sk.TopK(d_sae=96, k=K), METHOD, sk.ReLU(d_sae=96), sk.Gated(d_sae=96, l0=K), sk.JumpReLU(d_sae=96, l0=K)]
)
def test_the_record_and_the_dictionary_agree(method):
    """Of any method whose codes in training are others than afterwards; the last step's batch is all of x."""
    x = planted(2048)
    run = train(x, None, method, tokens=2048 * 60, batch_size=2048)
    assert l0(run.dictionary, x) == pytest.approx(run.records[-1]["l0"], rel=0.05)
    assert sk.metrics.explained_variance(x, run.dictionary(x)) == pytest.approx(
        run.records[-1]["explained_variance"], abs=0.02
    )
