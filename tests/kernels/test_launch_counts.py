"""How many calls of a training step would launch on a GPU, and where the host would wait: counted without one."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "kernels" / "benchmarks"
MOST = {0.0: (81, 8, 1), 0.25: (127, 8, 1)}
"""By the share of dead latents: aten calls, Triton launches, waits. A change that lowers them lowers these."""


@pytest.fixture
def launches(monkeypatch):
    if sys.platform != "linux" or importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (it exists for Linux alone)")
    if os.environ.get("TRITON_INTERPRET", "0") != "0":
        pytest.skip("TRITON_INTERPRET is set, and interpreted kernels are not launched")
    monkeypatch.syspath_prepend(str(FOLDER))
    from gpu_stages import launches

    return launches


@pytest.mark.parametrize("dead", MOST)
def test_a_step_launches_no_more_and_waits_no_more(launches, dead):
    counts = launches.step(dead)
    print(launches.shown(dead, counts))
    aten, triton, waits = MOST[dead]
    assert counts.triton["select_kernel"] == 1 and counts.triton["decode_kernel"] >= 1
    assert counts.triton.total() <= triton
    assert counts.aten.total() <= aten
    assert len(counts.waits) <= waits
    # The learner asks once whether the loss is finite and how many are dead; TopK, its loss and AuxK wait for nothing.
    assert all(where.startswith("saekit/training/learners/learner.py:") for where in counts.waits)
    assert os.environ.get("TRITON_INTERPRET", "0") == "0"


def test_each_kind_of_call_is_counted_as_it_should_be(launches):
    x = torch.ones(4, 3)
    with launches.counting() as counts:
        x.view(12)[2:].sum()  # one kernel, two views
        torch.empty(5)
        bool((x > 0).all())  # two kernels and a wait
        x[x > 0]  # two kernels and a wait
        x.nonzero()
    assert counts.aten.total() == 6
    assert [where.split()[-1] for where in counts.waits] == ["_local_scalar_dense", "index", "nonzero"]
    assert all(where.startswith("tests/kernels/test_launch_counts.py:") for where in counts.waits)
