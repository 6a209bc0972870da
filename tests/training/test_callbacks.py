"""TensorBoard and Weights & Biases, with modules in their place that write down what they are told."""

from __future__ import annotations

import sys
import types

import pytest
import torch

import saekit as sk
from saekit.training import TensorBoard, WeightsAndBiases

NUMBERS = ("loss", "explained_variance", "l0", "dead", "tokens_per_second", "waited")


def train(callback):
    x = torch.randn(700, 16, generator=torch.Generator().manual_seed(0))
    return sk.train(x, None, sk.TopK(d_sae=40, k=3), tokens=64 * 5, batch_size=64, callback=callback)


class Recorder:
    """Every call of any method, in order."""

    def __init__(self, *arguments, **named):
        self.calls = [("made", arguments, named)]

    def __getattr__(self, name):
        return lambda *arguments, **named: self.calls.append((name, arguments, named))


def test_tensorboard(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Recorder))
    callback = TensorBoard(tmp_path / "board")
    run = train(callback)
    calls = callback.writer.calls
    assert calls[0] == ("made", (str(tmp_path / "board"),), {})
    scalars = [arguments for name, arguments, _ in calls if name == "add_scalar"]
    assert scalars == [(name, record[name], record["tokens"]) for record in run.records for name in NUMBERS]
    assert len(scalars) == 30 and [name for name, *_ in calls].count("close") == 1 and calls[-1][0] == "close"


def test_weights_and_biases(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=Recorder))
    callback = WeightsAndBiases(project="first", mode="offline")
    run = train(callback)
    calls = callback.run.calls
    assert calls[0] == ("made", (), {"project": "first", "mode": "offline"}) and calls[-1] == ("finish", (), {})
    logged = [arguments[0] for name, arguments, _ in calls if name == "log"]
    assert logged == [{key: record[key] for key in ("tokens", *NUMBERS)} for record in run.records]


@pytest.mark.parametrize(
    ("make", "module", "command"),
    [
        (lambda: TensorBoard("board"), "torch.utils.tensorboard", "pip install tensorboard"),
        (lambda: WeightsAndBiases(), "wandb", "pip install wandb"),
    ],
)
def test_where_they_are_not_installed(monkeypatch, make, module, command):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=command):
        make()
