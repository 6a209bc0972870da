"""Paths as people give them: whole, and the same after another working folder was entered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import saekit as sk
from saekit.files.paths import resolved, shown

SITE = "blocks.0.hook_resid_post"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The working folder `notes` in a home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")
    return tmp_path


def test_a_path_is_whole(home) -> None:
    assert resolved("a/../b") == resolved(Path("b")) == home / "notes" / "b"
    assert resolved("~/a") == home / "a" and resolved("~") == home and resolved("a~") == home / "notes" / "a~"
    assert resolved("~no such user/a") == home / "notes" / "~no such user" / "a"
    assert resolved(".") == home / "notes" and resolved("[a]*=1") == home / "notes" / "[a]*=1"
    (home / "link").symlink_to(home / "notes")
    assert resolved("~/link/a") == home / "notes" / "a"


def test_what_is_no_path_is_one_sentence() -> None:
    with pytest.raises(TypeError, match=r"^out is a path, a str or a pathlib.Path, found 3\.$"):
        resolved(3, "out")
    for nothing in (None, b"a", ["a"]):
        with pytest.raises(TypeError, match="folder is a path"):
            resolved(nothing)
    for text in ("", "a\0b"):
        with pytest.raises(ValueError, match="folder is the name of a file or folder, found "):
            resolved(text)


def test_a_path_is_shown_as_its_reader_knows_it(home) -> None:
    assert shown(home / "notes" / "a" / "b") == "a/b" and shown(home / "c") == "~/c"
    assert shown(home / "notes") == "~/notes" and shown(home) == str(home) and shown(Path("/x/y")) == "/x/y"


def test_a_run_and_its_dictionary_stay_where_they_were_begun(home, monkeypatch) -> None:
    seen: list[Path] = []

    def leave(_progress) -> None:
        (home / "other").mkdir(exist_ok=True)
        monkeypatch.chdir(home / "other")
        seen.append(Path.cwd())

    x = torch.randn(400, 8)
    run = sk.train(x, None, sk.TopK(d_sae=16, k=2), tokens=400, out="run", callback=leave)
    assert seen and run.out == home / "notes" / "run" and (run.out / "dictionary" / "config.json").is_file()
    assert not list((home / "other").iterdir())
    assert sk.train(x, None, sk.TopK(d_sae=16, k=2), tokens=400, out="~/notes/run").records == run.records
    assert run.dictionary.save("~/kept") == home / "kept" and sk.load_dictionary("~/kept").d_sae == 16
    assert sk.export(run.dictionary, "~/exported").is_relative_to(home / "exported")


def test_an_activation_store_stays_where_it_was_opened(home, monkeypatch, tiny_llama) -> None:
    texts = ["the cat sat on a hat", "the dog is in the sea"]
    made = sk.activations.ActivationStore.build(tiny_llama, texts, SITE, "acts", tokens=10)
    opened, tilde = sk.activations.ActivationStore.open("acts"), sk.activations.ActivationStore.open("~/notes/acts")
    assert repr(opened).startswith("ActivationStore('acts', ")
    monkeypatch.chdir(home)
    assert repr(opened).startswith("ActivationStore('notes/acts', ")
    for store in (made, opened, tilde):
        assert not store.damaged() and torch.equal(store.shard(0)[SITE], made.shard(0)[SITE])
