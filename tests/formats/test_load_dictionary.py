"""load_dictionary: a folder, a shipped name, and what it says when there is neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from saekit.dictionaries import TopK, Wiring
from saekit.formats import load, load_dictionary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return TopK(d_sae=6, k=2).build(Wiring("x"), {"x": 3}).save(tmp_path / "saved")


@pytest.fixture
def ships(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("micro/blocks.1.hook_resid_post", "micro/blocks.2.hook_resid_post")
    monkeypatch.setattr(load, "shipped", lambda: dict.fromkeys(names, folder))


def test_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_dictionary(folder).d_sae == 6
    assert load_dictionary(str(folder), "cpu", torch.float16).decoder_bias.dtype == torch.float16
    monkeypatch.chdir(folder.parent)
    assert load_dictionary("saved").reads == ("x",)


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert load_dictionary("~/saved").d_sae == 6


@pytest.mark.usefixtures("ships")
def test_a_shipped_name_and_its_neighbours() -> None:
    assert load_dictionary("micro/blocks.2.hook_resid_post").d_sae == 6
    with pytest.raises(FileNotFoundError, match=r"'micro/blocks.2.hook_residpost', neither .* 'micro/blocks.2.hook_re"):
        load_dictionary("micro/blocks.2.hook_residpost")
    with pytest.raises(FileNotFoundError, match=r"the closest shipped one is 'micro/blocks"):
        load_dictionary("zzz")


def test_nothing_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "shipped", dict)
    with pytest.raises(FileNotFoundError, match="there is no dictionary 'zzz', neither shipped nor a folder; none is"):
        load_dictionary("zzz")


@pytest.mark.usefixtures("ships")
def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no config.json, so it is no dictionary of a known format"):
        load_dictionary(tmp_path)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"not a saekit dictionary: expected format 'saekit.dictionary', found None"):
        load_dictionary(tmp_path)


def test_what_ships_loads() -> None:
    """Every shipped dictionary opens, under the name that its site and model give it."""
    ships = load.shipped()
    if not ships:
        pytest.skip("no dictionary is shipped yet")
    for name in ships:
        sae = load_dictionary(name)
        model, site = name.split("/")
        assert sae.provenance.model == model and sae.provenance.model_hash and site in sae.writes
        assert all(bool(torch.isfinite(tensor).all()) for tensor in sae.state_dict().values())
