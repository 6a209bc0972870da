"""No space left while a run writes: one sentence, the former checkpoint whole, nothing half written, the same bits."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import torch

import saekit as sk
from saekit.files import NotWritten, write_atomically
from saekit.files.checkpoints import read_tensors
from saekit.training import session

BATCH, STEPS = 64, 24
CONFIGURATION = sk.TopK(d_sae=40, k=3)
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")


@pytest.fixture
def train():
    x = torch.randn(700, 16, generator=torch.Generator().manual_seed(0))
    return functools.partial(sk.train, x, None, CONFIGURATION, tokens=BATCH * STEPS, batch_size=BATCH)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write more into a file of this process, as a full disk does."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def full_at(step: int, size: int, stack):
    """A callback that lets the disk be full from a step on."""

    def callback(progress):
        if progress.tokens == step * BATCH:
            stack.enter_context(files_of_at_most(size))

    return callback


def equal(run, whole) -> bool:
    pairs = zip(run.dictionary.state_dict().values(), whole.dictionary.state_dict().values(), strict=True)
    return run.finished and all(torch.equal(a, b) for a, b in pairs)


def quiet(progress) -> None: ...


@POSIX
@pytest.mark.parametrize("step", [1, 10])
def test_a_checkpoint_that_does_not_fit(train, tmp_path, monkeypatch, step):
    whole = train(callback=quiet)
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    kept = f"the former checkpoint of {(step - 1) * BATCH} tokens is kept; .*goes on from it"
    if step == 1:
        kept = "there is no former checkpoint; make room there and call train again, which begins anew"
    with (
        ExitStack() as stack,
        pytest.raises(OSError, match=rf"checkpoint\.safetensors could not be written \(File too large.*\): {kept}"),
    ):
        train(out=tmp_path, callback=full_at(step, 8_000, stack))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".lock", "config.json", "metrics.jsonl"} | ({"checkpoint.safetensors"} if step > 1 else set())
    if step > 1:
        assert read_tensors(tmp_path / "checkpoint.safetensors")[1]["step"] == step - 1
    assert equal(train(out=tmp_path, callback=quiet), whole)


@POSIX
def test_records_that_do_not_fit(train, tmp_path, monkeypatch):
    whole = train(callback=quiet)
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    with (
        ExitStack() as stack,
        pytest.raises(OSError, match=r"metrics\.jsonl could not be written .*former checkpoint of \d+ tokens is kept"),
    ):

        def callback(progress):
            if progress.tokens == 8 * BATCH:
                monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 60.0)
                stack.enter_context(files_of_at_most((tmp_path / "metrics.jsonl").stat().st_size + 150))

        train(out=tmp_path, callback=callback)
    again = train(out=tmp_path, callback=quiet)
    assert equal(again, whole) and len(again.records) == STEPS


@POSIX
def test_a_dictionary_that_does_not_fit(train, tmp_path):
    with (
        ExitStack() as stack,
        pytest.raises(OSError, match=r"could not be written .*what it held before is kept; make room there"),
    ):
        run = train(callback=quiet)
        stack.enter_context(files_of_at_most(2_000))
        run.dictionary.save(tmp_path / "saved")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == []


def test_the_systems_own_words(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("before")

    def full(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(NotWritten, match=r"a\.json could not be written \(No space left on device\): what it held"):
        write_atomically(file, full)
    assert file.read_text() == "before" and [path.name for path in tmp_path.iterdir()] == ["a.json"]
