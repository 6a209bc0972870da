"""latent_max of a run on a model is the largest |z| of the finished dictionary on the last tokens it learnt from; the
model is not read for it, checkpoints do not hold the tokens, and a run that was stopped ends with the same bits."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.activations import shuffled
from saekit.files.checkpoints import read_tensors, write_tensors
from saekit.training import latent_max, session

SITE, BATCH, STEPS, MOST = "blocks.1.hook_resid_post", 32, 24, 300
TEXTS = [f"the cat {'sat and ' * (n % 7)}ran to the {n} mats in the garden of number {n * n}" for n in range(40)]
METHODS = {
    "TopK": sk.TopK(d_sae=40, k=3),
    "BatchTopK": sk.BatchTopK(d_sae=40, k=3),
    "rows": sk.EndToEnd(sk.TopK(d_sae=40, k=3)),
    "each": sk.TopK(d_sae=40, k=3),
}


@pytest.fixture(autouse=True)
def small(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last 300 tokens are ten batches, the first of them in part, over several chunks."""
    monkeypatch.setattr(latent_max, "MOST_TOKENS", MOST)
    monkeypatch.setattr(shuffled, "CHUNK_TOKENS", 100)


@pytest.fixture(params=["TopK"])
def train(request: pytest.FixtureRequest, tiny_gpt2: Any) -> Any:
    """One method; where a test asks for them every one."""
    sites = sk.Wiring(["blocks.0.hook_resid_post", SITE], each=True) if request.param == "each" else SITE
    keywords: dict[str, Any] = {"tokens": BATCH * STEPS, "batch_size": BATCH, "lr": 1e-2, "callback": lambda p: None}
    return functools.partial(sk.train, tiny_gpt2, sites, METHODS[request.param], TEXTS, **keywords)


def stop_at(step: int) -> Any:
    def callback(progress: Any) -> None:
        if progress.tokens == step * BATCH:
            raise KeyboardInterrupt

    return callback


def same(one: sk.Run, other: sk.Run) -> None:
    states = one.dictionary.state_dict(), other.dictionary.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert one.dictionary.provenance == other.dictionary.provenance


@pytest.mark.parametrize("train", METHODS, indirect=True)
def test_of_the_last_tokens(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brute force over what every step was given, of which the last tokens count."""
    given: list[torch.Tensor] = []
    update = session.Session.update

    def recorded(self: Any, taken: Any, measure: bool) -> Any:
        given.append(next(iter(self.batch(taken).flat().reads.values())))
        return update(self, taken, measure)

    monkeypatch.setattr(session.Session, "update", recorded)
    sae = train().dictionary
    each = sae.wiring.each
    last = torch.cat(given)[-MOST * (2 if each else 1) :]
    x = {sae.reads[0]: last} if each else last
    assert torch.allclose(sae.latent_max, sae.encode_dense(x).abs().amax(0), rtol=1e-6, atol=1e-7)
    before = torch.cat(given)[: -len(last)]
    assert (sae.encode_dense({sae.reads[0]: before} if each else before).amax(0) > sae.latent_max * 1.01).any()
    measured = sae.provenance.latent_max
    assert measured == {"corpus": sae.provenance.corpus, "tokens": MOST, "which": "the last of training"}
    assert "300 tokens, the last of training" in repr(sae.provenance)


def test_the_model_is_not_read_for_it(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, read = session.Session.run, []

    def then_closed(self: Any, *arguments: Any) -> bool:
        done = run(self, *arguments)
        for name in ("forward", "run_with_cache"):
            monkeypatch.setattr(type(self.stream.models[""]), name, lambda *a, **k: read.append(1))
        monkeypatch.setattr("saekit.models.fast.FastPath.run", lambda *a, **k: read.append(1))
        return done

    monkeypatch.setattr(session.Session, "run", then_closed)
    assert (train().dictionary.latent_max > 0).any() and not read


@pytest.mark.parametrize(
    ("train", "step"), [("TopK", 5), ("TopK", 14), ("each", 15), ("BatchTopK", 22)], indirect=["train"]
)
def test_stopped_before_and_among_them(train: Any, tmp_path: Any, step: int) -> None:
    """They begin in step 14; stopped twice too. The checkpoint holds less than two batches of activations."""
    whole = train()
    assert not train(out=tmp_path, callback=stop_at(step)).finished
    tensors, numbers = read_tensors(tmp_path / "checkpoint.safetensors")
    assert ("last" in numbers) == (step > 14)
    carried = [tensor for name, tensor in tensors.items() if name.startswith(("carried/", "last/"))]
    assert sum(len(tensor) for tensor in carried) < 2 * BATCH * len(whole.dictionary.reads)
    assert not train(out=tmp_path, callback=stop_at(step + 1)).finished
    same(train(out=tmp_path), whole)


def test_stopped_while_it_is_measured(train: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(latent_max, "largest_codes", interrupted)
        part = train(out=tmp_path)
    assert not part.finished and part.dictionary.latent_max.isnan().all()
    same(train(out=tmp_path), train())


def test_stopped_while_they_are_read_again(train: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not train(out=tmp_path, callback=stop_at(20)).finished
    add = latent_max.LastTokens.add

    def interrupted(self: Any, step: int, x: Any) -> None:
        if step == 16:
            raise KeyboardInterrupt
        add(self, step, x)

    with monkeypatch.context() as patch:
        patch.setattr(latent_max.LastTokens, "add", interrupted)
        assert not train(out=tmp_path).finished
    same(train(out=tmp_path), train())


def test_a_checkpoint_that_does_not_know_where_they_begin(train: Any, tmp_path: Any) -> None:
    """Of an older saekit: everything before it is read again."""
    assert not train(out=tmp_path, callback=stop_at(20)).finished
    tensors, numbers = read_tensors(tmp_path / "checkpoint.safetensors")
    del numbers["last"]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("last/")}
    write_tensors(tmp_path / "checkpoint.safetensors", tensors, numbers)
    same(train(out=tmp_path), train())


def test_of_a_run_that_goes_on(train: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With four steps more, six of the ten batches were trained on before its former end."""
    train(out=tmp_path)
    kept: list[Any] = []
    largest = latent_max.largest_codes
    monkeypatch.setattr(latent_max, "largest_codes", lambda sae, x: largest(sae, kept.extend(x) or kept))
    longer = train(out=tmp_path, tokens=BATCH * (STEPS + 4)).dictionary
    assert longer.provenance.latent_max["tokens"] == MOST
    gone_on, kept[:] = list(kept), []
    train(tokens=BATCH * (STEPS + 4))
    for one, other in zip(gone_on, kept, strict=True):
        assert all(torch.equal(one[site], other[site]) for site in one)


def test_wide_activations_are_kept_as_far_as_memory_goes() -> None:
    tokens = functools.partial(latent_max.LastTokens.of, 1024, 1000)
    assert (tokens({"a": 8}, 1).wanted, tokens({"a": 8}, 1).first) == (300, 999)
    most = 2**30 // (4 * 2**21)
    assert tokens({"a": 2**20, "b": 2**20}, 1).wanted == 300  # a batch at least
    assert latent_max.LastTokens.of(16, 1000, {"a": 2**20, "b": 2**20}, 1).wanted == most == 128


def test_of_an_array_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth as many rows as were trained on, but 100 at least and all where there are fewer."""
    monkeypatch.setattr(latent_max, "LEAST_TOKENS", 100)
    x = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    method, settings = sk.TopK(d_sae=40, k=3), {"batch_size": 64, "callback": lambda p: None}
    for given, tokens, rows in ((x, 1280, x[::7]), (x, 320, x[::10]), (x, 1280 * 8, x[::4]), (x[:90], 640, x[:90])):
        sae = sk.train(given, None, method, tokens=tokens, **settings).dictionary
        assert torch.equal(sae.latent_max, sae.encode_dense(rows).amax(0))
        assert sae.provenance.latent_max == {"corpus": None, "tokens": len(rows)}
