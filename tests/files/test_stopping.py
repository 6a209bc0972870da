"""Stopping: one sentence, at the next whole step, and the handler of before afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from saekit.files.stopping import Stop, stopped_with


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_work_goes_on_until_it_looks_and_a_second_press_ends_it() -> None:
    before, reached = signal.getsignal(signal.SIGINT), []
    with Stop() as stop:
        assert not stop.asked
        press()
        reached.append(stop.asked)
    assert reached == [True] and signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), Stop() as stop:
        press()
        press()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_sentence_is_made_when_it_stops_and_the_inner_one_stays() -> None:
    done = 0

    @stopped_with("stopped; outside.")
    def work() -> None:
        nonlocal done
        with stopped_with(lambda: f"stopped after {done}."):
            done = 3
            press()

    with pytest.raises(KeyboardInterrupt, match=r"^stopped after 3\.$") as stopped:
        work()
    assert stopped.value._render_traceback_() == ["stopped after 3."]  # what IPython shows
    with pytest.raises(ValueError, match="other"), stopped_with("stopped."):
        raise ValueError("other errors pass")


def test_a_program_ends_as_at_any_interrupt() -> None:
    code = "import signal; from saekit.files.stopping import stopped_with\n"
    code += "with stopped_with('stopped; nothing is kept.'): signal.raise_signal(signal.SIGINT)\nprint('never')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode in (-signal.SIGINT, 130) and done.stdout == "" and "stopped; nothing is kept." in done.stderr
