"""One process writes a run's folder, or a store's: who comes second is told who is there; torchrun is one writer."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore
from saekit.files.locks import InUse, writing_in

METHOD = sk.TopK(d_sae=40, k=3)
ELSEWHERE = """
import sys
from pathlib import Path
from saekit.files.locks import writing_in
with writing_in(Path(sys.argv[1]), "run"):
    print("in", flush=True)
    sys.stdin.read()
"""


def train(out: Any, **keywords: Any) -> sk.Run:
    x = torch.randn(700, 16, generator=torch.Generator().manual_seed(0))
    keywords = {"callback": lambda _: None, "tokens": 640, "batch_size": 64} | keywords
    return sk.train(x, None, METHOD, out=out, **keywords)


def test_two_processes_and_one_run(tmp_path):
    (tmp_path / "run").mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None and other.stdout is not None
    try:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(InUse, match=f"run is in use: process {other.pid} on .* writes this run"):
            train(tmp_path / "run")
        assert not (tmp_path / "run" / "config.json").exists()
    finally:
        other.stdin.close()
        other.wait(60)
        other.stdout.close()
    assert train(tmp_path / "run").finished


def test_a_run_within_a_run_of_the_same_folder(tmp_path):
    """A callback that trains into its own run's folder."""
    found = []

    def again(progress):
        with pytest.raises(InUse, match=rf"process {os.getpid()} \(this one\)"):
            train(tmp_path)
        found.append(progress)

    assert train(tmp_path, callback=again).finished and found
    assert train(tmp_path).finished, "it is let go of at the end"


def test_a_run_that_fails_or_is_stopped_lets_go(tmp_path):
    def fail(progress):
        raise KeyError("cause")

    with pytest.raises(KeyError):
        train(tmp_path, callback=fail)
    assert train(tmp_path).finished


def test_a_finished_run_is_read_while_another_holds_it(tmp_path):
    """And where nothing may be written."""
    done = train(tmp_path)
    with writing_in(tmp_path, "run"):
        again = train(tmp_path)
        with pytest.raises(InUse):
            train(tmp_path, tokens=1280)
    assert torch.equal(done.dictionary.decoder_directions, again.dictionary.decoder_directions)
    assert sk.Run.open(tmp_path).finished


def test_processes_that_train_together_are_one_writer(tmp_path, monkeypatch):
    """The first holds the folder; the others of its torchrun ask for nothing."""
    monkeypatch.setattr("saekit.engines.processes.first", lambda: False)
    from saekit.training.loop import _writer

    with writing_in(tmp_path, "run"), _writer(tmp_path, 640, 1):
        pass


def test_two_writers_and_one_activation_store(tiny_gpt2, tmp_path):
    texts = ["the cat sat on the mat"] * 20
    with writing_in(tmp_path, "activation store"), pytest.raises(InUse, match="writes this activation store"):
        ActivationStore.build(tiny_gpt2, texts, "blocks.0.hook_resid_post", tmp_path, tokens=50)
    store = ActivationStore.build(tiny_gpt2, texts, "blocks.0.hook_resid_post", tmp_path, tokens=50)
    assert len(store) >= 50
