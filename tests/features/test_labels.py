"""Labels: what is set comes back, from several processes too; files that are not labels change nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from saekit.features.labels.exchange import Imported, export_labels, import_labels
from saekit.features.labels.labels import Labels
from saekit.files import sqlite as labels_file

TEXTS = {
    "quotes": '"it\'s" `;--',
    "markup": "<script>alert(1)</script>&amp;",
    "direction": "abc\u202eשלום\u202c",
    "nul": "a\x00b",
    "long": "é" * 10_000,
    "emoji": "👩‍👩‍👧‍👦\r\n\t",
}


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    return Labels(tmp_path / "labels.sqlite", d_sae=1000)


def test_what_is_given_changes_and_the_rest_stays(labels: Labels) -> None:
    assert labels.get(7) == {"label": "", "star": False, "note": "", "saved": ""}
    assert not labels.file.path.exists()  # reading makes nothing
    first = labels.set(7, label="a name")
    assert {**first, "saved": ""} == {"label": "a name", "star": False, "note": "", "saved": ""}
    stamp = datetime.fromisoformat(first["saved"])
    assert stamp.utcoffset() is not None and abs(time.time() - stamp.timestamp()) < 60
    assert stamp.microsecond == 0
    labels.set(7, star=True)
    labels.set(np.int32(7), note="seen")
    assert {**labels.get(7), "saved": ""} == {"label": "a name", "star": True, "note": "seen", "saved": ""}
    labels.set(2, star=True)
    assert list(labels.all()) == [2, 7]
    labels.set(2, star=False)
    assert list(labels.all()) == [7]
    assert labels.frame().drop(columns="saved").values.tolist() == [[7, "a name", True, "seen"]]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_comes_back_equal(labels: Labels, tmp_path: Path, text: str) -> None:
    labels.set(3, label=text, note=text[::-1])
    assert (labels.get(3)["label"], labels.get(3)["note"]) == (text, text[::-1])
    other = Labels(tmp_path / "other.sqlite", 1000)
    import_labels(other, export_labels(labels, tmp_path / "labels.json"))
    assert other.all() == labels.all()


@pytest.mark.parametrize(
    ("latent", "more", "says"),
    [
        (1000, {}, "latent 1000 is not in 0 … 999; the closest is 999"),
        (-1, {}, "latent -1 is not in 0 … 999; the closest is 0"),
        ("3", {}, "whole number in 0 … 999, found '3'"),
        (3, {"label": 5}, "label must be text, found 5"),
        (3, {"note": "a\ud800"}, "note has half a character .* position 1"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(labels: Labels, latent, more: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        labels.set(latent, **more)
    assert not labels.file.path.exists()


WRITE_200 = """
import sys
from saekit.features.labels.labels import Labels
labels = Labels(sys.argv[1], 1000)
for latent in range(int(sys.argv[2]), int(sys.argv[2]) + 200):
    labels.set(latent, label=f"latent {latent}")
    labels.set(999, **{sys.argv[3]: sys.argv[2]})
"""


def test_two_processes_at_once_lose_nothing(labels: Labels) -> None:
    path = str(labels.file.path)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE_200, path, first, field], stderr=subprocess.PIPE, text=True)
        for first, field in [("0", "label"), ("200", "note")]
    ]
    connection = sqlite3.connect(path)
    for writer in writers:
        assert writer.communicate(timeout=300)[1] == "" and writer.returncode == 0
    found = labels.all()
    assert {latent: row["label"] for latent, row in found.items() if latent < 999} == {
        latent: f"latent {latent}" for latent in range(400)
    }
    assert (found[999]["label"], found[999]["note"]) == ("0", "200")
    assert labels.since(0)[0] == 800  # every change had a version of its own
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_threads_share_one_object(labels: Labels) -> None:
    def write(first: int) -> None:
        for latent in range(first, first + 20):
            labels.set(latent, star=True)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 20, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(labels.all()) == list(range(60))


def test_changes_of_others_are_found_once(labels: Labels) -> None:
    version, changed = labels.since(0)
    assert (version, changed) == (0, {})
    other = Labels(labels.file.path, 1000)
    other.set(5, label="five")
    other.set(6, label="six")
    version, changed = labels.since(version)
    assert {latent: row["label"] for latent, row in changed.items()} == {5: "five", 6: "six"}
    assert labels.since(version) == (version, {})
    other.set(5, label="")
    again, changed = labels.since(version)
    assert again > version and list(changed) == [5] and changed[5]["label"] == ""


def test_a_locked_file_is_waited_for(labels: Labels) -> None:
    labels.set(1, label="one")
    holder = sqlite3.connect(labels.file.path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    assert labels.get(1)["label"] == "one"  # readers do not wait
    timer = threading.Timer(0.5, lambda: holder.execute("COMMIT"))
    timer.start()
    begun = time.perf_counter()
    labels.set(2, label="two")
    assert time.perf_counter() - begun > 0.4
    timer.join()
    holder.close()
    assert list(labels.all()) == [1, 2]


def test_a_file_locked_for_good_is_an_error(labels: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    labels.set(1, label="one")
    monkeypatch.setattr(labels_file, "WAIT", 0.1)
    holder = sqlite3.connect(labels.file.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(TimeoutError, match=r"another program has held .*labels\.sqlite"):
        labels.set(1, label="two")
    holder.close()
    assert labels.get(1)["label"] == "one"


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder that nobody in this test can write to, not even root (who reads and writes everywhere)."""
    if os.name == "nt":
        pytest.skip("folders have no such permission there")
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def close_folder(folder: Path) -> None:
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("written", [True, False])
def test_a_read_only_folder_is_read_and_says_so_when_written(read_only_folder: Path, written: bool) -> None:
    labels = Labels(read_only_folder / "labels.sqlite", 10)
    if written:
        labels.set(1, label="one")
    close_folder(read_only_folder)
    expected = {1: "one"} if written else {}
    assert {latent: row["label"] for latent, row in labels.all().items()} == expected
    assert labels.since(0)[0] == len(expected) and labels.explanations() == []
    with pytest.raises(PermissionError, match=r"labels cannot be saved in .*labels\.sqlite: .* read-only"):
        labels.set(2, label="two")
    assert {latent: row["label"] for latent, row in labels.all().items()} == expected


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 30, b"\x00" * 4096])
def test_another_file_is_an_error_that_names_it(labels: Labels, content: bytes) -> None:
    labels.file.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.sqlite is not a file of labels, or is damaged"):
        labels.all()
    with pytest.raises(ValueError, match=r"labels\.sqlite is not a file of labels, or is damaged"):
        labels.set(1, label="one")
    assert labels.file.path.read_bytes() == content


def test_a_later_version_is_an_error(labels: Labels) -> None:
    labels.set(1, label="one")
    connection = sqlite3.connect(labels.file.path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    for call in (labels.all, lambda: labels.set(1, star=True)):
        with pytest.raises(ValueError, match="later saekit"):
            call()


# -- explanations and JSON -------------------------------------------------------------------------------------------


@pytest.fixture
def full(labels: Labels) -> Labels:
    labels.dictionary = "abc"
    labels.set(1, label="one", star=True)
    labels.set(9, note="nine")
    labels.add_explanation(1, "a name", None, "me")
    labels.add_explanation(4, "a verb", '{"word": "ran"}', "rule", detection=0.75, fuzzing=np.float32(0.5))
    return labels


def test_explanations_come_back_in_order(full: Labels) -> None:
    [rule] = full.explanations(4)
    assert {**rule, "saved": ""} == {
        "latent": 4,
        "text": "a verb",
        "predicate": '{"word": "ran"}',
        "author": "rule",
        "detection": 0.75,
        "fuzzing": 0.5,
        "saved": "",
    }
    assert [row["latent"] for row in full.explanations()] == [1, 4]
    with pytest.raises(ValueError, match="detection must be a finite number or None, found nan"):
        full.add_explanation(1, "x", None, "me", detection=float("nan"))
    with pytest.raises(ValueError, match="predicate must be JSON"):
        full.add_explanation(1, "x", "{", "me")
    assert len(full.explanations()) == 2


def test_export_and_import_are_an_identity(full: Labels, tmp_path: Path) -> None:
    file = export_labels(full, tmp_path / "new" / "labels.json")
    other = Labels(tmp_path / "other.sqlite", 1000, "abc")
    for _ in range(2):  # a second time changes nothing
        import_labels(other, file)
        assert other.all() == full.all() and other.explanations() == full.explanations()
    other.dictionary = None
    assert json.loads(export_labels(other, tmp_path / "again.json").read_text()) == {
        **json.loads(file.read_text()),
        "dictionary": None,
    }


@pytest.fixture
def mine(tmp_path: Path) -> Labels:
    """Labels of another person on the same latents."""
    labels = Labels(tmp_path / "other.sqlite", 1000)
    labels.set(1, label="mine", note="mine")
    labels.set(2, label="two")
    labels.set(9, note="nine")
    labels.add_explanation(2, "mine", None, "me")
    labels.add_explanation(1, "a name", None, "me", detection=0.9)
    return labels


def test_import_keeps_what_is_here_fills_what_is_empty_and_counts_both(
    full: Labels, mine: Labels, tmp_path: Path
) -> None:
    version, _ = mine.since(0)
    done = import_labels(mine, export_labels(full, tmp_path / "labels.json"))
    row = mine.get(1)
    assert (row["label"], row["note"], row["star"]) == ("mine", "mine", True)  # only the star was not said here
    assert mine.get(2)["label"] == "two" and mine.get(9)["note"] == "nine"
    found = [(row["latent"], row["detection"]) for row in mine.explanations()]
    assert found == [(2, None), (1, 0.9), (4, 0.75)]
    assert done == Imported(labels=1, explanations=1, kept_labels=1, kept_explanations=1)
    assert str(done) == (
        "added 1 labels and 1 explanations, kept 1 labels and 1 explanations that the file has otherwise; "
        "replace=True takes the file's"
    )
    assert list(mine.since(version)[1]) == [1, 4]  # what is equal is not said to have changed
    again, _ = mine.since(0)
    assert import_labels(mine, tmp_path / "labels.json") == Imported(0, 0, 1, 1) and mine.since(0)[0] == again


def test_import_that_replaces_leaves_what_the_file_says(full: Labels, mine: Labels, tmp_path: Path) -> None:
    version, _ = mine.since(0)
    done = import_labels(mine, export_labels(full, tmp_path / "labels.json"), replace=True)
    assert mine.all() == full.all() and mine.explanations() == full.explanations()
    assert done == Imported(labels=2, explanations=2)
    assert list(mine.since(version)[1]) == [1, 2, 4, 9]  # those who have the store open learn what was cleared


def test_a_cleared_label_is_filled_with_what_the_file_says(full: Labels, mine: Labels, tmp_path: Path) -> None:
    mine.set(1, label="", note="")
    import_labels(mine, export_labels(full, tmp_path / "labels.json"))
    assert mine.get(1) == full.get(1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: "{", "it is not JSON"),
        (lambda c: [c], "its format is None, not 'saekit.labels'"),
        (lambda c: {**c, "format": "other"}, "its format is 'other', not 'saekit.labels'"),
        (lambda c: {**c, "version": 2}, "it has version 2 of saekit.labels, this saekit reads 1"),
        (lambda c: {**c, "dictionary": "xyz"}, r"another dictionary \(xyz\), this store has abc"),
        (lambda c: {**c, "labels": [*c["labels"], {"latent": 1000}]}, "latent 1000 is not in 0 … 999"),
        (lambda c: {**c, "labels": [*c["labels"], {"latent": "5"}]}, "whole number in 0 … 999, found '5'"),
        (lambda c: {**c, "labels": [*c["labels"], {"latent": 1}]}, "it has latent 1 twice"),
        (lambda c: {**c, "labels": [{"latent": 1, "star": "yes"}]}, "star must be true or false, found 'yes'"),
        (lambda c: {**c, "labels": [{"label": "x"}]}, "'latent' is missing"),
        (lambda c: {**c, "explanations": {}}, "its explanations are not a list of objects"),
        (lambda c: {**c, "labels": ["x"]}, "its labels are not a list of objects"),
        (lambda c: {**c, "labels": 3}, "its labels are not a list of objects"),
        (lambda c: {**c, "explanations": [{"latent": 1, "text": "x"}]}, "'author' is missing"),
        (
            lambda c: {**c, "explanations": [{**c["explanations"][0], "detection": "high"}]},
            "detection must be a finite number or None, found 'high'",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence_and_changes_nothing(full: Labels, tmp_path: Path, change, says: str) -> None:
    file = export_labels(full, tmp_path / "labels.json")
    changed = change(json.loads(file.read_text()))
    file.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    before = full.all(), full.explanations(), full.since(0)
    for replace in (False, True):
        with pytest.raises(ValueError, match=f"labels.json was not imported: .*{says}.*Nothing was changed"):
            import_labels(full, file, replace=replace)
    assert (full.all(), full.explanations(), full.since(0)) == before


def test_the_same_explanation_again_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    labels = Labels(tmp_path / "labels.sqlite", 10)
    labels.set(3, label="three")
    version, _ = labels.since(0)
    labels.add_explanation(3, "a name", None, "me", 0.6)
    labels.add_explanation(3, "a name", None, "me", 0.8)
    labels.add_explanation(3, "a name", None, "you", 0.7)
    assert [(row["author"], row["detection"]) for row in labels.explanations(3)] == [("me", 0.8), ("you", 0.7)]
    _, changed = labels.since(version)
    assert changed[3]["detection"] == 0.8 and changed[3]["label"] == "three"
