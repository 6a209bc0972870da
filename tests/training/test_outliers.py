"""A few tokens of huge norm are left out of training, counted and said; ordinary activations are trained on as ever."""

from __future__ import annotations

import functools
import json
from contextlib import nullcontext
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore

METHOD = sk.TopK(d_sae=64, k=4)
SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat", "hen")]
train = functools.partial(sk.train, callback=lambda _: None, dtype=torch.float32)


@pytest.fixture(autouse=True)
def threads(one_thread: None) -> None: ...


def planted(n: int = 4000) -> torch.Tensor:
    """Sums of about three of 48 directions in 24 dimensions."""
    g = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(48, 24, generator=g), dim=1)
    on = torch.rand(n, 48, generator=g) < 3 / 48
    return (on * torch.rand(n, 48, generator=g)) @ directions + 0.3


def spoiled(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[::40] += 300 * torch.nn.functional.normalize(torch.ones(x.shape[1]), dim=0)
    return x


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items() if name != "latent_max")


def score(sae: Any, x: torch.Tensor) -> tuple[float, float]:
    """Explained variance and share of dead latents on the 97.5 % that are not spoiled."""
    x = x[torch.arange(len(x)) % 40 != 0]
    return sk.metrics.explained_variance(x, sae(x)), sk.metrics.dead(sae.encode(x))


def test_one_row_in_forty_does_not_decide_what_is_learned(capsys, tmp_path):
    x, tokens = planted(), 60_000
    without = train(x[torch.arange(4000) % 40 != 0], None, METHOD, tokens=tokens).dictionary
    run = train(spoiled(x), None, METHOD, tokens=tokens, out=tmp_path)
    assert "left out 100 rows of the array, whose norm is above 10 times the median" in capsys.readouterr().err
    (wanted, dead), (found, now_dead) = score(without, x), score(run.dictionary, x)
    print(f"explained variance {found:.3f}, without those rows {wanted:.3f}; dead {now_dead:.3f}, {dead:.3f}")
    assert wanted > 0.8 and abs(found - wanted) < 0.02 and now_dead <= dead
    assert run.dictionary.latent_max.max() < 2 * without.latent_max.max()  # the unit of strength is of the others too
    assert {record["left_out"] for record in run.records} == {100}
    assert json.loads((tmp_path / "config.json").read_text())["max_norm_multiple"] == 10
    kept = train(spoiled(x), None, METHOD, tokens=tokens, max_norm_multiple=None)
    assert score(kept.dictionary, x)[0] < 0.3 and "left_out" not in kept.records[-1]


def test_ordinary_activations_are_trained_on_bit_for_bit_as_without(tmp_path, capsys):
    x = planted()
    runs = [train(x, None, METHOD, tokens=20_000, max_norm_multiple=multiple) for multiple in (10.0, None)]
    assert same(runs[0].dictionary, runs[1].dictionary) and "left_out" not in runs[0].records[-1]
    half = torch.cat([torch.zeros(3000, 24), x])  # a median of 0 says nothing
    assert "left_out" not in train(half, None, METHOD, tokens=8000).records[-1]
    assert "left out" not in capsys.readouterr().err


@pytest.mark.parametrize("wiring", [sk.Wiring("a", "b"), sk.Wiring(["a", "b"]), sk.Wiring(["a", "b"], each=True)])
def test_several_arrays_lose_the_same_rows(wiring):
    """Rows 0, 40, 80, … of one and 1, 41, … of the other."""
    x = planted()
    arrays = {"a": spoiled(x), "b": 3 * spoiled(x.roll(-1, 0)).roll(1, 0)}
    run = train(arrays, wiring, METHOD, tokens=30_000)
    assert run.records[-1]["left_out"] == 200
    stay = torch.arange(4000) % 40 > 1
    clean = {"a": x[stay], "b": 3 * x[stay]}
    wanted = train(clean, wiring, METHOD, tokens=30_000).dictionary
    for some in [{"a": clean["a"]}, {"b": clean["b"]}] if wiring.each else [clean]:
        y = wanted.join_writes(some if wiring.same else {"b": clean["b"]})
        found = [sk.metrics.explained_variance(y, s.join_writes(s(some))) for s in (run.dictionary, wanted)]
        assert abs(found[0] - found[1]) < 0.03, found


def huge(model: Any) -> Any:
    """Hooks under which every token " cat" has a residual stream of huge norm."""
    cat = int(model.tokenizer(" cat")["input_ids"][-1])
    seen: dict[str, torch.Tensor] = {}

    def add(h, hook):
        row = model.W_E[cat]
        is_cat = ((seen["h"] - row).norm(dim=-1) < 1e-4).to(h)
        return h + 300 * h.norm(dim=-1, keepdim=True) * is_cat[..., None]

    return model.hooks(fwd_hooks=[("hook_embed", lambda h, hook: seen.update(h=h) or h), (SITE, add)])


@pytest.mark.parametrize("source", ["model", "rows", "store", "two models"])
def test_wherever_activations_come_from(source, tiny_gpt2, tmp_path, monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 300)
    method: sk.Method = sk.TopK(d_sae=32, k=4)
    if source == "rows":
        method = sk.EndToEnd(method)
    keywords: dict[str, Any] = {"tokens": 2000, "batch_size": 100, "lr": 1e-3}
    with huge(tiny_gpt2):
        acts = sk.activations.harvest(tiny_gpt2, TEXTS, SITE)
        x = acts.flat(SITE)
        wrong = x.norm(dim=1) > 10 * x.norm(dim=1).median()
        assert 0 < int(wrong.sum()) < len(x) / 10
        if source == "store":
            store = ActivationStore.build(tiny_gpt2, TEXTS, SITE, tmp_path / "s", tokens=10_000, dtype=torch.float32)
            run = train(store, SITE, method, **keywords)
        elif source == "two models":
            both = {"a": tiny_gpt2, "b": tiny_gpt2}
            run = train(both, sk.Wiring.crosscoder(SITE, models=("a", "b")), method, TEXTS, **keywords)
        else:
            run = train(tiny_gpt2, SITE, method, TEXTS, **keywords)
    left_out, passes = run.records[-1]["left_out"], 2000 / (len(x) - int(wrong.sum()))
    assert left_out == pytest.approx(int(wrong.sum()) * passes, rel=0.5)
    sae = run.dictionary
    some = {site: x[~wrong] for site in sae.reads}
    assert float(sae.decoder_bias.norm()) < 10 * float(x[~wrong].norm(dim=1).median()) * len(sae.reads)
    assert sk.metrics.explained_variance(sae.join_writes(some), sae.join_writes(sae(some))) > -1


@pytest.mark.parametrize("chunk", [1000, 64])
def test_resumed_it_is_the_same(tiny_gpt2, tmp_path, monkeypatch, chunk):
    """Also where a chunk has less than a batch left."""
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", chunk)
    with huge(tiny_gpt2):
        begin = functools.partial(
            train, tiny_gpt2, SITE, sk.TopK(d_sae=32, k=4), TEXTS, tokens=64 * 30, batch_size=64, lr=1e-3
        )
        whole = begin()

        def stop(progress):
            if progress.tokens == 64 * 17:
                raise KeyboardInterrupt

        assert not begin(out=tmp_path, callback=stop).finished
        again = begin(out=tmp_path)
    assert same(again.dictionary, whole.dictionary)
    assert [r["left_out"] for r in again.records] == [r["left_out"] for r in whole.records]


def test_a_run_of_before_is_what_it_was(tmp_path):
    """Without the field: a finished one is returned; one that was begun has left none out, and goes on so."""
    x = planted()

    def stop(progress):
        raise KeyboardInterrupt

    for name, callback, expected in (
        ("finished", lambda _: None, nullcontext()),
        ("begun", stop, pytest.raises(ValueError, match=r"max_norm_multiple \(there None, here 10")),
    ):
        train(x, None, METHOD, tokens=8000, out=tmp_path / name, callback=callback)
        file = tmp_path / name / "config.json"
        config = json.loads(file.read_text())
        del config["max_norm_multiple"]
        file.write_text(json.dumps(config))
        with expected:
            assert train(x, None, METHOD, tokens=8000, out=tmp_path / name).finished
    assert train(x, None, METHOD, tokens=8000, out=tmp_path / "begun", max_norm_multiple=None).finished
