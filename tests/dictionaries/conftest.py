"""What tests of methods share: activations of micro at three sites, read once, and dictionaries trained on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import saekit as sk

SITES = [f"blocks.{layer}.hook_resid_post" for layer in range(3)]


@pytest.fixture(scope="session")
def micro() -> Any:
    """micro, its activations at SITES on 40,000 tokens of training text, and on 8,000 of held-out text."""
    model = sk.load_model("micro", device="cpu")
    read: dict[str, dict[str, torch.Tensor]] = {}
    for split, tokens in (("train", 40_000), ("heldout", 8_000)):
        acts = sk.activations.harvest(model, sk.load_corpus("microworld", split=split), SITES, tokens=tokens)
        read[split] = {site: acts.flat(site) for site in SITES}
    return SimpleNamespace(model=model, sites=SITES, train=read["train"], heldout=read["heldout"])


@pytest.fixture(scope="session")
def on_micro(micro: Any) -> Callable[..., sk.Run]:
    """on_micro(method, layer) → the run, once for each."""

    @functools.cache
    def trained(method: sk.Method, layer: int = 1, tokens: int = 40_000) -> sk.Run:
        site, threads = SITES[layer], torch.get_num_threads()
        torch.set_num_threads(1)
        x = {site: micro.train[site]}
        run = sk.train(x, None, method, tokens=tokens, batch_size=256, dtype=torch.float32, callback=lambda _: None)
        torch.set_num_threads(threads)
        return run

    return trained


@pytest.fixture
def scores(micro: Any) -> Callable[..., tuple[float, float]]:
    """scores(dictionary) → explained variance and mean L0 on held-out text."""

    def of(dictionary: Any) -> tuple[float, float]:
        x = micro.heldout[dictionary.site]
        return sk.metrics.explained_variance(x, dictionary(x)), sk.metrics.l0(dictionary.encode(x))

    return of


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shuffle within 1,024 tokens, so that a short run crosses chunks and reads its texts again."""
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 1024)
    yield
