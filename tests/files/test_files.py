"""Files that appear whole: their permissions, threads that write at once, and what a killed process leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from saekit.files import remove_leftovers, write_atomically
from saekit.files.checkpoints import write_tensors

POSIX = pytest.mark.skipif(os.name == "nt", reason="files have no such permissions there")


@POSIX
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_permissions_of_a_new_one(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, {})
        write_atomically(tmp_path / "a.json", lambda path: path.write_text("{}"))
    finally:
        os.umask(before)
    assert [oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [oct(0o666 & ~umask)] * 2


@POSIX
def test_writing_never_sets_the_umask_of_other_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(os, "umask", asked.append)
    threads = [
        threading.Thread(target=write_atomically, args=(tmp_path / f"{i}.json", lambda path: path.write_text("{}")))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [] and sorted(path.name for path in tmp_path.iterdir()) == [f"{i}.json" for i in range(8)]


KILLED = """
import os, sys
from pathlib import Path
from saekit.files import write_atomically

def die(path):
    path.write_text("half")
    os._exit(9)

write_atomically(Path(sys.argv[1]), die)
"""


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.safetensors", "part-0001.parquet"])
@pytest.mark.parametrize("below", ["", "tokens"])
def test_what_a_killed_process_left_is_removed(tmp_path: Path, name: str, below: str) -> None:
    file = tmp_path / below / name
    assert subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False).returncode == 9
    assert [path.is_dir() for path in file.parent.iterdir()] == [True]
    remove_leftovers(tmp_path)
    assert list(file.parent.iterdir()) == []


def test_what_others_made_stays(tmp_path: Path) -> None:
    folders = [".a.json", ".git", "a.json.12", ".a.txt.12", ".a.json.x1", ".json.1", "tokens/.cache.parquet.new"]
    for folder in folders:
        (tmp_path / folder / "inside").mkdir(parents=True)
    (tmp_path / ".a.json.12").write_text("a file, not a folder")
    (tmp_path / "far" / "below" / ".a.json.12").mkdir(parents=True)
    if os.name != "nt":
        (tmp_path / "link").symlink_to(tmp_path / "far" / "below")
    before = sorted(tmp_path.rglob("*"))
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
