"""A finished run with more tokens goes on where it ended, and Run.open gives back what a folder holds."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.training import folder as folders
from saekit.training.run import TIMES
from saekit.training.settings import Settings

SIZE = 64
METHOD = sk.TopK(d_sae=40, k=3)


def array() -> torch.Tensor:
    return torch.randn(700, 16, generator=torch.Generator().manual_seed(0))


def train(steps: int, out: Any, method: Any = METHOD, **keywords: Any) -> sk.Run:
    keywords = {"callback": lambda _: None, "batch_size": SIZE, "dtype": torch.float32} | keywords
    return sk.train(array(), None, method, tokens=steps * SIZE, out=out, **keywords)


def same(one: sk.Run, other: sk.Run) -> None:
    for a, b in zip(one.dictionaries, other.dictionaries, strict=True):
        for name, tensor in a.state_dict().items():
            assert torch.equal(tensor, b.state_dict()[name]), name
    without = [[{k: v for k, v in r.items() if k not in TIMES} for r in run.records] for run in (one, other)]
    assert without[0] == without[1]


def stop_at(step: int):
    def callback(progress):
        if progress.tokens == step * SIZE:
            raise KeyboardInterrupt

    return callback


METHODS = {
    "TopK": METHOD,
    "BatchTopK": sk.BatchTopK(d_sae=40, k=3),
    "two": [METHOD, sk.JumpReLU(d_sae=40, l0=3)],
    "ITDA": sk.ITDA(d_sae=40, k=3),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_it_goes_on_where_it_ended(method, tmp_path, capsys):
    """Stopped on the way it is the same; the former end stands in the records, and its dictionary beside."""
    first = train(20, tmp_path / "a", method)
    train(20, tmp_path / "b", method)
    capsys.readouterr()
    longer = train(50, tmp_path / "a", method)
    said = capsys.readouterr().err
    assert "goes on from 1,280 to 3,200 tokens: the learning rate rises again" in said
    assert [r["tokens"] for r in longer.records[: len(first.records)]] == [r["tokens"] for r in first.records]
    assert longer.records[-1]["tokens"] == 3200 and longer.dictionaries[0].provenance.tokens == 3200
    assert json.loads((tmp_path / "a" / "config.json").read_text())["gone_on_at"] == [1280]
    former = [
        sk.load_dictionary(place) for place in folders.places(tmp_path / "a" / "ends" / "1280", len(first.dictionaries))
    ]
    same(first, sk.Run(former, first.records))
    assert not train(50, tmp_path / "b", method, callback=stop_at(33)).finished
    same(train(50, tmp_path / "b", method), longer)
    capsys.readouterr()
    same(train(50, tmp_path / "a", method), longer)  # finished: as it is, and nothing is said
    assert capsys.readouterr().err == ""
    longest = train(60, tmp_path / "a", method)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["gone_on_at"] == [1280, 3200]
    assert longest.records[-1]["tokens"] == 3840


def test_it_learns_on_from_its_weights_and_not_anew(tmp_path):
    first = train(200, tmp_path)
    longer = train(400, tmp_path)
    assert longer.records[-1]["loss"] < first.records[-1]["loss"]
    after = next(r for r in longer.records if r["tokens"] > 200 * SIZE)
    assert after["loss"] < first.records[0]["loss"] / 1.5


def test_the_rate_rises_again():
    ours = Settings(steps=100, batch_size=10, begun=40)
    assert ours.rise == 5 and ours.fall == 20
    assert [ours.schedule(step) for step in (40, 42, 44, 60, 80, 90, 99)] == [0.2, 0.6, 1, 1, 1, 0.5, 0.05]


@pytest.mark.parametrize(
    ("keywords", "named"),
    [({"seed": 1}, "seed"), ({"lr": 1e-2}, "lr"), ({"batch_size": 32}, "batch_size"), ({"warm_up": 640}, "warm_up")],
)
def test_any_other_field_is_an_error_and_nothing_is_touched(keywords, named, tmp_path):
    first = train(20, tmp_path)
    with pytest.raises(ValueError, match=f"holds another run; it differs in .*{named}"):
        train(50, tmp_path, **keywords)
    same(train(20, tmp_path), first)
    for steps, tokens in ((10, 640), (20.5, 1312)):  # half a step is none
        with pytest.raises(ValueError, match=rf"tokens \(there 1280, here {tokens}\)"):
            train(steps, tmp_path)


def test_a_run_without_its_last_state_and_a_fit_cannot_go_on(tmp_path):
    train(20, tmp_path / "a")
    (tmp_path / "a" / "end.safetensors").unlink()
    with pytest.raises(ValueError, match=r"tokens \(there 1280, here 3200\)"):
        train(50, tmp_path / "a")
    pca = sk.dictionaries.PCA(d_sae=8)
    train(5, tmp_path / "b", pca)
    assert not (tmp_path / "b" / "end.safetensors").exists()
    with pytest.raises(ValueError, match=r"tokens \(there 320, here 640\)"):
        train(10, tmp_path / "b", pca)


@pytest.mark.parametrize("moment", ["config", "aside", "state"])
def test_killed_while_it_begins_to_go_on(moment, tmp_path, monkeypatch):
    """After config.json, the dictionary, or the last state was put in its place."""
    whole = [train(steps, tmp_path / "whole") for steps in (20, 50)][1]
    train(20, tmp_path / "a")
    calls = {"config": 0, "aside": 1, "state": 2}[moment]
    replaced = os.replace

    def failing(source, target):
        nonlocal calls
        if "end.safetensors" in str(source) or str(source).endswith("/dictionary"):
            calls -= 1
            if calls < 0:
                raise KeyError("killed")
        replaced(source, target)

    with monkeypatch.context() as broken, pytest.raises((KeyError, ZeroDivisionError)):
        broken.setattr(folders.os, "replace", failing)
        broken.setattr("saekit.training.loop._begin", lambda *_: 1 / 0)
        train(50, tmp_path / "a")
    assert not sk.Run.open(tmp_path / "a").finished
    same(train(50, tmp_path / "a"), whole)


def test_a_run_is_opened(tmp_path):
    run = train(20, tmp_path / "a")
    opened = sk.Run.open(tmp_path / "a")
    same(opened, run)
    assert opened.finished and opened.out == tmp_path / "a" and list(opened.metrics["tokens"])[-1] == 1280
    assert torch.equal(sk.load_dictionary(tmp_path / "a").decoder_directions, run.dictionary.decoder_directions)
    two = train(20, tmp_path / "two", METHODS["two"])
    same(sk.Run.open(str(tmp_path / "two")), two)
    train(20, tmp_path / "part", callback=stop_at(9))
    part = sk.Run.open(tmp_path / "part")
    assert not part.finished and len(part.records) == 9
    with pytest.raises(ValueError, match=r"part is not finished: call sk.train with it again first"):
        _ = part.dictionary
    with pytest.raises(ValueError, match=r"nowhere holds no run: its config.json is missing"):
        sk.Run.open(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"dictionary holds no run: its config.json is missing or another's"):
        sk.Run.open(tmp_path / "a" / "dictionary")
