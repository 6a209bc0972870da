"""One writer a folder."""

import multiprocessing
import os
import signal

import pytest

from saekit.files.locks import InUse, writing_in


def _hold(folder, there, go):
    with writing_in(folder, "run"):
        there.set()
        go.wait(60)


def test_the_second_is_told_who_is_there_and_a_killed_one_lets_go(tmp_path):
    context = multiprocessing.get_context("spawn")
    there, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, there, go))
    process.start()
    assert there.wait(60)
    told = rf"is in use: process {process.pid} on .*, since 20.*, writes this run\."
    with pytest.raises(InUse, match=told), writing_in(tmp_path, "run"):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    here = rf"process {os.getpid()} \(this one\)"
    with writing_in(tmp_path, "run"), pytest.raises(InUse, match=here), writing_in(tmp_path, "run"):
        pass
    with writing_in(tmp_path, "run"):
        pass
