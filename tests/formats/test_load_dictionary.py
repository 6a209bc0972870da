"""load_dictionary: a folder, a shipped name, and what it says when there is neither."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

import saekit as sk
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
    with pytest.raises(FileNotFoundError, match=r"of those shipped the closest is 'micro/blocks"):
        load_dictionary("zzz")


def test_nothing_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "shipped", dict)
    with pytest.raises(
        FileNotFoundError,
        match=r"no dictionary 'zzz', neither .*; of those shipped there is none",
    ):
        load_dictionary("zzz")


def test_what_holds_none_names_the_known_formats_and_what_is_there(tmp_path: Path) -> None:
    says = r"holds no dictionary of a known format \(saekit\); found "
    with pytest.raises(ValueError, match=says + "an empty folder"):
        load_dictionary(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(ValueError, match=says + r"a file of another format"):
        load_dictionary(tmp_path / "config.json")
    for number in range(6):
        (tmp_path / f"model-{number}.safetensors").touch()
    with pytest.raises(ValueError, match=says + r"config\.json, model-0\.safetensors, .* and 2 more"):
        load_dictionary(tmp_path)


def test_a_cut_file_of_ours_is_said_to_be_damaged(folder: Path) -> None:
    text = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text[:60], encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json is not a readable JSON file"):
        load_dictionary(folder)


def test_a_runs_folder_gives_its_dictionary(tmp_path: Path) -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    train = functools.partial(sk.train, x, None, tokens=128, batch_size=32, callback=lambda progress: None)
    run = train(sk.TopK(d_sae=6, k=2), out=tmp_path / "one")
    assert torch.equal(sk.load_dictionary(tmp_path / "one").decoder_directions, run.dictionary.decoder_directions)
    train([sk.TopK(d_sae=6, k=1), sk.TopK(d_sae=6, k=2)], out=tmp_path / "two")
    places = [tmp_path / "two" / "dictionaries" / number for number in "01"]
    with pytest.raises(ValueError) as caught:
        sk.load_dictionary(tmp_path / "two")
    assert str(caught.value) == (
        f"{tmp_path / 'two'} holds a run of 2 dictionaries: load one of {places[0]}, {places[1]}."
    )
    assert sk.load_dictionary(places[1]).method == sk.TopK(d_sae=6, k=2)


def test_a_run_that_is_not_finished_has_none_yet(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").touch()
    with pytest.raises(ValueError, match=r"holds a run that is not finished: call sk\.train with it again first"):
        load_dictionary(tmp_path)


def test_what_ships_loads() -> None:
    """Every shipped dictionary opens, under the name that its site and model give it."""
    ships = load.shipped()
    if not ships:
        pytest.skip("no dictionary is shipped yet")
    for name in ships:
        sae = load_dictionary(name)
        model, place = name.split("/")
        assert sae.provenance.model == model and sae.provenance.model_hash
        layers = [site.removesuffix("hook_mlp_out") + "mlp" for site in sae.writes]  # of a transcoder
        assert place in sae.writes or [place] == layers or (place == "cross_layer" and len(layers) == 4)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in sae.state_dict().values())
