"""Progress: a calm time left, a bar that ends full, and nothing on a script's stdout."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest

from saekit.files.progress import Bar, Rate, say

SCRIPT = """
import time
from saekit.files.progress import Bar, say
with Bar(total=20, desc="work", unit=" piece", mininterval=0, delay=0) as bar:
    for _ in range(19):
        bar.update()
    say("a sentence")
print("result")
"""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_script_has_its_results_alone_on_stdout_and_a_full_bar() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    last = done.stderr.split("\r")[-1]
    assert "a sentence\n" in done.stderr and "100%" in last and "19/19" in last  # what was estimated is known now


def test_a_bar_that_is_left_early_is_not_full(capsys) -> None:
    with pytest.raises(RuntimeError), Bar(total=10, desc="work", mininterval=0, delay=0) as bar:
        bar.update(3)
        raise RuntimeError
    assert "3/10" in capsys.readouterr().err.split("\r")[-1]


def test_whoever_knows_better_says_what_is_left() -> None:
    with Bar(total=10, desc="work", delay=0) as bar:
        bar.update(2)
        bar.left = math.nan
        assert "?" in str(bar)
        bar.left = 75.0
        assert "<01:15" in str(bar)
        bar.stopped = True
    assert "2/10" in str(bar)


def test_in_a_notebook_it_stands_under_the_cell(monkeypatch, capsys) -> None:
    """There stderr is red."""

    class Shell:
        kernel = object()

    class IPython:
        get_ipython = Shell

    monkeypatch.setitem(sys.modules, "IPython", IPython)
    say("a sentence")
    assert capsys.readouterr() == ("a sentence\n", "")


def test_the_time_left_of_work_that_pauses_is_calm() -> None:
    """A chunk is read for 4 s, then 32 steps take .1 s each: what is left is told within a third, and never jumps."""
    clock = Clock()
    rate, done, told = Rate(clock=clock), 0, []
    for _ in range(15):
        clock.now += 4.0
        for _ in range(32):
            clock.now += 0.1
            done += 1
            told.append((480 - done) / rate.at(done))
    truth = [7.2 / 32 * (480 - n - 1) for n in range(480)]
    late = [(t, u) for t, u in zip(told, truth, strict=True) if u < 90 and u > 5]
    assert all(abs(t - u) < u / 3 for t, u in late)
    assert all(abs(after - before) < 0.2 * before for before, after in itertools.pairwise(told[128:400]))


def test_nothing_is_known_of_work_that_has_not_begun() -> None:
    clock = Clock()
    rate = Rate(5, clock=clock)
    clock.now = 1
    assert rate.at(5) is None and rate.at(7) == 2
