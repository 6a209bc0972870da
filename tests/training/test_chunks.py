"""How many tokens are shuffled at a time: by hand, the same when a run goes on, and in the model's own precision."""

from __future__ import annotations

import functools
import json
import threading
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStream
from saekit.training.folder import keep_chunks

SITE = "blocks.1.hook_resid_post"
BATCH, STEPS = 64, 24
TEXTS = [f"the cat {'sat and ' * (n % 7)}ran to the {n} mats in the garden of number {n * n}" for n in range(40)]


@pytest.fixture
def train(tiny_gpt2):
    keywords = {"tokens": BATCH * STEPS, "batch_size": BATCH, "lr": 1e-2, "callback": lambda progress: None}
    return functools.partial(sk.train, tiny_gpt2, SITE, sk.TopK(d_sae=40, k=3), TEXTS, **keywords)


def same(one: sk.Run, other: sk.Run) -> bool:
    return all(torch.equal(t, other.dictionary.state_dict()[name]) for name, t in one.dictionary.state_dict().items())


@pytest.mark.parametrize(
    ("batch_size", "width", "kind", "device", "tokens"),
    [
        (1024, 128, torch.float32, "cpu", 2**15),  # the default: 32 batches
        (64, 128, torch.float32, "cpu", 2**15),
        (8192, 128, torch.float32, "cpu", 32 * 8192),
        (8192, 2304, torch.float32, "cpu", 2**29 // (4 * 2304)),  # 7 batches: as many as 512 MiB hold
        (8192, 2304, torch.bfloat16, "cuda", 32 * 8192),
        (65_536, 2304, torch.bfloat16, "cuda", 2**32 // (2 * 2304)),  # 932,067, as many as 4 GiB hold
        (2**21, 2304, torch.bfloat16, "cuda", 2**21),  # a batch anyway
    ],
)
def test_tokens_of_a_chunk_by_hand(tiny_gpt2, monkeypatch, batch_size, width, kind, device, tokens):
    monkeypatch.setattr(ActivationStream, "dtype_of", lambda self, name: kind)
    stream = ActivationStream(tiny_gpt2, [SITE], TEXTS, batch_size, device=device)
    monkeypatch.setattr(stream.reader, "columns", lambda: {SITE: width})
    stream.widths = {SITE: width}
    assert stream.chunk_tokens == tokens


def test_a_chunk_is_no_longer_than_the_run(tiny_gpt2):
    for wanted, tokens in ((10_000, 2**15), (100_000, 100_000), (10**6, 32 * 8192)):
        stream = ActivationStream(tiny_gpt2, [SITE], TEXTS, 8192)
        stream.wanted = wanted
        assert stream.chunk_tokens == tokens


def stop_at(tokens):
    def callback(progress):
        if progress.tokens == tokens:
            raise KeyboardInterrupt

    return callback


def test_a_run_goes_on_in_the_chunks_it_began_with(train, tmp_path, monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 300)
    whole = train()
    assert not train(out=tmp_path, callback=stop_at(9 * BATCH)).finished
    assert json.loads((tmp_path / "config.json").read_text())["chunk_tokens"] == 300
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 900)  # as another device would have
    assert not same(train(), whole)
    assert same(train(out=tmp_path), whole)
    assert same(train(out=tmp_path), whole), "finished, it is read"
    longer = train(out=tmp_path, tokens=BATCH * (STEPS + 9))
    assert longer.tokens == BATCH * (STEPS + 9)
    assert json.loads((tmp_path / "config.json").read_text())["chunk_tokens"] == 300


def test_a_run_from_before_its_chunks_were_written_down_goes_on_as_it_began(train, tmp_path, monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 300)
    whole = train()
    train(out=tmp_path, callback=stop_at(9 * BATCH))
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in config.items() if key != "chunk_tokens"}))
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 900)
    monkeypatch.setattr("saekit.training.folder.FORMERLY", (300, 2**27))
    assert same(train(out=tmp_path), whole)
    monkeypatch.setattr("saekit.training.folder.FORMERLY", (700, 2**27))  # of a finished run it is no matter
    assert same(train(out=tmp_path), whole)


def test_as_large_as_chunks_were_formerly_by_hand(tiny_gpt2, tmp_path):
    for width, batch_size, tokens in ((128, 1024, 32_768), (2304, 8192, 14_563), (2304, 16_384, 16_384)):
        stream = ActivationStream(tiny_gpt2, [SITE], TEXTS, batch_size)
        stream.widths = {SITE: width}
        (tmp_path / "config.json").write_text(json.dumps({"seed": 0}))
        keep_chunks(tmp_path, stream)
        assert stream.chunk_tokens == tokens
    (tmp_path / "config.json").write_text(json.dumps({"chunk_tokens": "many"}))
    with pytest.raises(TypeError, match="chunk_tokens is a whole number from 1, found 'many'"):
        keep_chunks(tmp_path, stream)


def test_a_model_in_half_precision_is_kept_in_it(tiny_gpt2_folder):
    """Nothing is lost: what a model of bfloat16 gives has no more digits."""
    model = sk.load_model(tiny_gpt2_folder, device="cpu", dtype=torch.bfloat16)
    stream = ActivationStream(model, [SITE], TEXTS, BATCH, gradients=True)
    for kind in (torch.uint8, torch.float8_e4m3fn, torch.float64):  # weights of 8 bits give no activations of 8 bits
        stream.reader.models = {"": SimpleNamespace(parameters=lambda kind=kind: iter([torch.zeros(1).to(kind)]))}
        assert stream.dtype_of(SITE) == torch.float32
    stream.reader.models = {"": model}
    columns, _ = stream.read(stream.state, threading.Event())
    assert columns[SITE].dtype == torch.bfloat16 and stream.token_bytes == 16 * (2 + 4)
    known = {tuple(row.tolist()) for row in sk.activations.harvest(model, TEXTS, SITE).flat(SITE).float()}
    batch = next(islice(stream, 1))
    assert batch[SITE].dtype == torch.float32 and len(known) > 100
    assert sum(tuple(row.tolist()) in known for row in batch[SITE]) > BATCH // 2
