"""What a step frees is there for the next one: pages are not mapped and cleared again and again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from saekit.engines.memory import VARIABLE, keep_freed

STEPS = """
import sys, torch
import saekit as sk
from saekit.objectives import Batch
from saekit.training.learners import make_learner
from saekit.training.settings import Settings

def faults():
    with open("/proc/self/stat") as file:
        return int(file.read().rpartition(")")[2].split()[7])

torch.set_num_threads(1)
learner = make_learner(sk.TopK(d_sae=8192, k=4), sk.Wiring("x"), {"x": 512}, Settings(steps=100, batch_size=64))
batch, counts = Batch.of(torch.randn(64, 512)), []
for step in range(9):
    before = faults()
    learner.update(batch, {"x": 1.0}, step, False)
    counts.append(faults() - before)
print(sorted(counts[-3:])[1])
"""


GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not GLIBC, reason="only glibc's malloc can be told")
def test_a_step_takes_what_the_one_before_freed():
    """The median of the last steps, in a process of its own; 16,384 faults of 4 KiB without it."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    run = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True)
    print(f"{run.stdout.strip()} faults a step")
    assert int(run.stdout or run.stderr) <= 100


def test_it_can_be_left_as_it_is(monkeypatch):
    monkeypatch.setenv(VARIABLE, "give_back")
    assert keep_freed.__wrapped__() is False
    monkeypatch.delenv(VARIABLE)
    assert keep_freed.__wrapped__() is GLIBC
    monkeypatch.setenv(VARIABLE, "all")
    with pytest.raises(ValueError, match="SAEKIT_MEMORY is 'keep' or 'give_back', found 'all'"):
        keep_freed.__wrapped__()
