"""Few latents, or few words: training goes on, says so once, and does what it should."""

from __future__ import annotations

import functools
import inspect
import warnings

import pytest
import torch

import saekit as sk
from saekit.training import loop

SITE = "blocks.1.hook_resid_post"
train = functools.partial(sk.train, batch_size=64, tokens=64 * 30, lr=1e-2, callback=lambda progress: None)


@pytest.fixture
def x():
    return torch.randn(700, 16, generator=torch.Generator().manual_seed(0))


def test_fewer_latents_than_dimensions_are_said_once(x, monkeypatch):
    """At the line that calls train, as a caller sees it: without what checks shapes in tests between the two."""
    monkeypatch.setattr(loop, "_warn_of_narrow", inspect.unwrap(loop._warn_of_narrow))
    monkeypatch.setattr(sk, "train", inspect.unwrap(sk.train))
    message = r"d_sae = 4 is less than the width of 'x', 16: .*here 64 or more"
    with pytest.warns(UserWarning, match=message) as said:
        run = sk.train(
            x, None, [sk.TopK(d_sae=8, k=2), sk.TopK(d_sae=4, k=2), sk.TopK(d_sae=40, k=2)], **train.keywords
        )
    assert len(said) == 1 and said[0].filename == __file__ and run.finished
    assert run.dictionaries[1].decoder_directions.shape == (4, 16)


def test_as_many_latents_as_dimensions_need_no_word(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(x, None, sk.TopK(d_sae=16, k=2))


def times(batch, rows):
    """How often each row comes in a batch that holds nothing else."""
    apart = (batch[:, None] - rows[None]).norm(dim=-1)
    assert bool((apart.min(1).values < 1e-4).all())
    return torch.bincount(apart.argmin(1), minlength=len(rows))


def test_a_corpus_shorter_than_a_batch_is_read_again(tiny_gpt2, monkeypatch):
    """Seven tokens in batches of 64: read 64 times, each is in 7 batches 64 times, but for what waits for the next."""
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 64)
    texts = ["the cat", "dogs sat"]
    rows = sk.activations.harvest(tiny_gpt2, texts, SITE).flat(SITE)
    assert len(rows) == 7
    batches = iter(sk.activations.ActivationStream(tiny_gpt2, [SITE], texts, 64))
    counted = sum(times(next(batches)[SITE], rows) for _ in range(70))
    assert int(counted.sum()) == 70 * 64 and int((counted - 640).abs().max()) <= 32, counted
    runs = [train(tiny_gpt2, SITE, sk.TopK(d_sae=32, k=2), texts, seed=seed) for seed in (0, 0, 1)]
    weights = [run.dictionary.decoder_directions for run in runs]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert runs[0].records[-1]["loss"] < runs[0].records[0]["loss"] / 2
    assert sk.metrics.explained_variance(rows, runs[0].dictionary(rows)) > 0.9


def test_an_array_shorter_than_a_batch_is_read_again():
    x = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))
    batch = next(iter(sk.activations.ArrayStream(x, 64)))["x"]
    assert sorted(times(batch, x).tolist()) == [6] * 6 + [7] * 4
    run = train(x, None, sk.TopK(d_sae=32, k=2))
    assert run.finished and run.records[-1]["loss"] < run.records[0]["loss"]
