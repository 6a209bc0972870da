"""kill -9, ten times: whatever moment a run is killed at, the same call ends with the bits of one never killed.

A driver (this file run as a script) imports saekit once and forks a process for each run, before torch has started a
thread. A child is killed while it begins, a random while after its first checkpoint, or while one is being written.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

BATCH, STEPS, KILLS = 64, 500, 10
EVERY = 0.02  # seconds between checkpoints
CONFIGURATIONS = ["one", "several"]


def train(folder: Path, which: str) -> None:
    import torch

    import saekit as sk
    from saekit.training import session

    session.CHECKPOINT_SECONDS = EVERY
    torch.set_num_threads(1)
    x = torch.randn(700, 16, generator=torch.Generator().manual_seed(0))
    one = sk.TopK(d_sae=48, k=3)
    sk.train(
        x,
        None,
        one if which == "one" else [one, sk.ReLU(d_sae=32)],
        tokens=BATCH * STEPS,
        batch_size=BATCH,
        lr=1e-3,
        out=folder,
        callback=lambda progress: None,
    )


def begin(folder: Path, which: str) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(folder, which)
            code = 0
        finally:
            os._exit(code)
    return child


def drive(folder: Path, which: str) -> list[str]:
    """Train in folder/whole without a kill and in folder/killed with ten; what each kill met."""
    import torch._dynamo  # noqa: F401  (what the first optimiser imports)

    import saekit.training  # noqa: F401

    assert os.waitpid(begin(folder / "whole", which), 0)[1] == 0, "the whole run failed"
    killed, chance, met = folder / "killed", random.Random(0), []
    checkpoint = killed / "checkpoint.safetensors"

    def written() -> int:
        return checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0

    for number in range(KILLS):
        before, child = written(), begin(killed, which)
        if number < 2:  # while it begins
            time.sleep(chance.uniform(0, 0.02))
        else:  # in the course of the run, or as soon as a checkpoint is being written
            wait(lambda before=before: written() != before)
            time.sleep(chance.uniform(0, 0.03))
            if number % 2:
                wait(lambda child=child: list(killed.glob(f".checkpoint.safetensors.{child}/*")))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), f"run {number} ended before it was killed: {status}"
        left = list(killed.glob(f".*.{child}"))
        met.append("in a checkpoint" if left else "between checkpoints" if written() else "before a checkpoint")
    assert os.waitpid(begin(killed, which), 0)[1] == 0, "the last run failed"
    return met


def wait(until: Callable[[], object]) -> None:
    """Look all the time, for ten seconds at most: a checkpoint is written in a millisecond."""
    last = time.monotonic() + 10
    while not until():
        assert time.monotonic() < last, "what the kill waits for did not come"


def contents(folder: Path) -> dict[str, object]:
    """Every file by name: bytes, and of metrics.jsonl and the last state what is in them without times."""
    from saekit.files.checkpoints import read_tensors
    from saekit.training.run import TIMES

    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        found[name] = path.read_bytes()
        if name == "metrics.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: value for key, value in record.items() if key not in TIMES} for record in records]
        if name == "end.safetensors":
            tensors, numbers = read_tensors(path)
            state = {key: tensor.numpy().tobytes() for key, tensor in tensors.items()}
            found[name] = [state, {key: value for key, value in numbers.items() if key != "seconds"}]
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL")
@pytest.mark.parametrize("which", CONFIGURATIONS)
def test_killed_ten_times(tmp_path, which):
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), which], capture_output=True, text=True, timeout=400, env=os.environ
    )
    assert done.returncode == 0, done.stderr[-2000:]
    met = json.loads(done.stdout.splitlines()[-1])
    assert len(met) == KILLS and set(met) == {"before a checkpoint", "in a checkpoint", "between checkpoints"}, met
    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert list(killed) == list(whole)
    for name, expected in whole.items():
        assert killed[name] == expected, name


if __name__ == "__main__":
    print(json.dumps(drive(Path(sys.argv[1]), sys.argv[2])))
