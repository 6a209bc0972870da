"""More than one process and one store: who comes second is told who is there, and labels of both are kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch

import saekit as sk
from saekit.features.building import build
from saekit.files.locks import InUse, writing_in

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the {a} {b} on a {c}" for a in ("cat", "dog") for b in ("sat", "is") for c in "abcd"]


@pytest.fixture
def make(tiny_llama, one_thread, tmp_path):
    def make(**changes) -> sk.FeatureStore:
        torch.manual_seed(0)
        sae = sk.TopK(d_sae=20, k=3).build(sk.Wiring(SITE), {SITE: 16})
        settings = {"top": 3, "loss_examples": 0} | changes
        return sk.FeatureStore.build(tiny_llama, sae, TEXTS, tmp_path / "store", **settings)

    return make


def _hold(folder: Path, there) -> None:
    with writing_in(folder, "store"):
        there.set()
        time.sleep(600)


@pytest.fixture
def writer(tmp_path):
    """Another process that writes in the folder; its number."""
    context = multiprocessing.get_context("spawn")
    there = context.Event()
    (tmp_path / "store").mkdir(exist_ok=True)
    process = context.Process(target=_hold, args=(tmp_path / "store", there))
    process.start()
    assert there.wait(60)
    yield process
    process.kill()
    process.join(60)


def test_a_folder_that_another_process_builds_in_is_left_alone(make, tmp_path, writer) -> None:
    who = rf"process {writer.pid} on .*, since 20[^,]*"
    with pytest.raises(InUse, match=rf"store is in use: {who}, writes this store\. Wait until it is done"):
        make()
    with pytest.raises(ValueError, match=rf"store is being built by {who}: open it when that is done\.$"):
        sk.FeatureStore.open(tmp_path / "store")
    assert not list((tmp_path / "store").glob("[!.]*"))
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(60)
    with pytest.raises(ValueError, match="is no feature store"):  # what it leaves says nothing of a writer
        sk.FeatureStore.open(tmp_path / "store")
    assert make().tokens > 0


def test_a_build_in_progress_says_so_to_who_opens_it_or_builds_beside_it(make, tmp_path, monkeypatch) -> None:
    real, told = build.write_table, []

    def meanwhile(*given) -> None:
        real(*given)
        if not told:
            with pytest.raises(ValueError) as opened:
                sk.FeatureStore.open(tmp_path / "store")
            with pytest.raises(InUse) as built:
                make()
            told.extend([str(opened.value), str(built.value)])

    monkeypatch.setattr(build, "write_table", meanwhile)
    store = make()
    here = re.escape(f"process {os.getpid()} (this one) on ")
    assert re.search(rf"being built \(\d+ tokens read, 0 parts written\) by {here}.*: open it when", told[0])
    assert re.search(rf"in use: {here}.* writes this store", told[1])
    assert store.tokens == json.loads((store.folder / "manifest.json").read_text())["progress"]["counted"]


def test_a_finished_store_needs_no_lock(make, tmp_path, writer) -> None:
    """It was finished by the process that holds it still, and may lie where nothing can be written."""
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(60)
    store = make()
    with writing_in(store.folder, "store"):
        assert make().folder == store.folder and sk.FeatureStore.open(store.folder).tokens == store.tokens


def test_who_waited_takes_what_the_other_finished(make, tmp_path, monkeypatch) -> None:
    """Finished between the look at the folder and the lock: nothing is built again."""
    real, calls = build.writing_in, []

    def late(folder, what):
        if not calls:
            calls.append(folder)
            make()
            monkeypatch.setattr(build.Build, "_go_on", lambda *_: pytest.fail("it was built again"))
        return real(folder, what)

    monkeypatch.setattr(build, "writing_in", late)
    assert make().tokens > 0 and len(calls) == 1
