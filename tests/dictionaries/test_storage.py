"""saekit's own format: what is saved comes back bit for bit, old files survive a failure, damage is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from saekit.dictionaries import Dictionary, Provenance, TopK, Wiring, read_dictionary, storage
from saekit.files import write_atomically

PROVENANCE = Provenance(
    model="a model",
    model_hash="f" * 64,
    processing="compatibility",
    corpus={"name": "micro", "split": "train", "fingerprint": "ab", "kinds": {"narration": 3}},
    tokens=4096,
    seed=7,
    latent_max={"corpus": {"name": "micro"}, "tokens": 100},
    versions={"saekit": "0.0.1", "torch": "2.0"},
)


def build(seed: int = 0, reads: dict[str, int] | None = None, writes: dict[str, int] | None = None) -> Dictionary:
    torch.manual_seed(seed)
    reads = reads or {"blocks.0.hook_resid_post": 6}
    sae = TopK(d_sae=10, k=2).build(Wiring(list(reads), writes and list(writes)), reads | (writes or {}))
    with torch.no_grad():
        for tensor in sae.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape))
    sae.provenance = PROVENANCE
    return sae


def same(a: Dictionary, b: Dictionary) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(
        t.dtype == two[name].dtype and torch.equal(t, two[name]) for name, t in one.items()
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build().save(tmp_path / "sae")


def edit_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    change(config)
    file.write_text(json.dumps(config), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    state = {name: tensor.clone() for name, tensor in load_file(folder / "weights.safetensors").items()}
    change(state)
    save_file(state, folder / "weights.safetensors")


# -- round trip --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", [None, {"c": 3, "d": 2}])
def test_round_trip(tmp_path: Path, writes: dict[str, int] | None) -> None:
    sae = build(0, {"b": 4, "a": 3} if writes else None, writes)
    assert sae.save(tmp_path / "deep" / "er") == tmp_path / "deep" / "er"
    assert sorted(path.name for path in (tmp_path / "deep" / "er").iterdir()) == ["config.json", "weights.safetensors"]
    loaded = read_dictionary(tmp_path / "deep" / "er")
    assert same(sae, loaded) and type(loaded) is type(sae)
    assert loaded.method == sae.method and loaded.provenance == PROVENANCE
    assert list(loaded.read_widths.items()) == list(sae.read_widths.items())
    assert list(loaded.write_widths.items()) == list(sae.write_widths.items())
    x = torch.randn(5, sum(sae.read_widths.values()))
    assert torch.equal(loaded.encode_dense(x), sae.encode_dense(x))


def test_latent_max_that_was_not_measured(tmp_path: Path) -> None:
    sae = TopK(d_sae=4, k=1).build(Wiring("x"), {"x": 2})
    loaded = read_dictionary(sae.save(tmp_path))
    assert bool(loaded.latent_max.isnan().all()) and loaded.provenance == sae.provenance
    assert loaded.provenance.model_hash is None and "torch" in loaded.provenance.versions


def test_dtypes(tmp_path: Path) -> None:
    """Stored in the dtype it has; read as float32, or as what is asked for, without a detour through float32."""
    sae = build()
    halves = sae.half().save(tmp_path / "half")
    assert {t.dtype for t in load_file(halves / "weights.safetensors").values()} == {torch.float16}
    assert {t.dtype for t in read_dictionary(halves).state_dict().values()} == {torch.float32}
    assert same(read_dictionary(halves), build().half().float())
    assert same(read_dictionary(halves, torch.float16), build().half())
    third = build().double()
    with torch.no_grad():
        third.decoder_bias.fill_(1 / 3)  # no float32 holds it
    assert same(read_dictionary(third.save(tmp_path / "double"), torch.float64), third)


def test_reading_draws_no_random_numbers_and_freezes(folder: Path) -> None:
    before = torch.get_rng_state()
    loaded = read_dictionary(folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())  # like those that train returns


# -- overwriting -------------------------------------------------------------------------------------------------------


def test_overwriting(folder: Path) -> None:
    build(1).save(folder)
    assert same(read_dictionary(folder), build(1))
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("broken", ["weights", "config", "provenance"])
def test_the_old_one_survives_a_failure(folder: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while the weights or the config are written; a provenance that JSON cannot hold."""
    new = build(1)
    new.provenance = replace(PROVENANCE, seed=8)

    def full_disk(*arguments: Any, **keywords: Any) -> None:
        path = next(a for a in arguments if isinstance(a, Path))
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    if broken == "weights":
        monkeypatch.setattr(storage, "save_file", full_disk)
    elif broken == "config":
        monkeypatch.setattr(Path, "write_text", full_disk)
    else:
        new.provenance = replace(PROVENANCE, corpus={"name": object()})
    with pytest.raises((OSError, TypeError)):
        new.save(folder)
    monkeypatch.undo()
    loaded = read_dictionary(folder)
    assert same(loaded, build(0)) and loaded.provenance == PROVENANCE
    assert len(list(folder.iterdir())) == 2  # no half file is left


def test_write_atomically(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.txt"
    write_atomically(file, lambda path: path.write_text("old", encoding="utf-8"))

    def stop(path: Path) -> None:
        path.write_text("new, half", encoding="utf-8")
        assert file.parent in path.parents  # the same file system, so that the rename is atomic
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, stop)
    assert file.read_text(encoding="utf-8") == "old" and list(file.parent.iterdir()) == [file]
    with open(file, encoding="utf-8") as reader:  # who reads meanwhile keeps the old file whole
        write_atomically(file, lambda path: path.write_text("new", encoding="utf-8"))
        assert reader.read() == "old" and file.read_text(encoding="utf-8") == "new"


# -- damage ------------------------------------------------------------------------------------------------------------

CONFIG = {
    "foreign": (lambda c: c.update(format="other"), "expected format 'saekit.dictionary', found 'other'"),
    "no format": (lambda c: c.pop("format"), "expected format 'saekit.dictionary', found None"),
    "version": (lambda c: c.update(version=99), "has version 99, this saekit reads version 1"),
    "no reads": (lambda c: c.pop("reads"), "lacks 'reads'"),
    "no provenance": (lambda c: c.pop("provenance"), "lacks 'provenance'"),
    "method": (lambda c: c["configuration"].update(method="NoSuch"), "method 'NoSuch' is not known here .*TopK"),
    "no method": (lambda c: c["configuration"].pop("method"), "method '' is not known"),
    "field": (lambda c: c["configuration"].update(d_say=3), "TopK has no field 'd_say'; the closest is 'd_sae'"),
    "no field": (lambda c: c["configuration"].pop("d_sae"), "TopK lacks 'd_sae'"),
    "value": (lambda c: c["configuration"].update(k=99), "k must be between 1 and d_sae = 10, found 99"),
    "type": (lambda c: c["configuration"].update(k="2"), "config.json"),
    "no object": (lambda c: c.update(configuration=3), "config.json"),
    "provenance": (lambda c: c["provenance"].update(colour="red"), "colour"),
}


@pytest.mark.parametrize("name", CONFIG)
def test_damaged_config(folder: Path, name: str) -> None:
    change, message = CONFIG[name]
    edit_config(folder, change)
    with pytest.raises(ValueError, match=message) as error:
        read_dictionary(folder)
    assert str(folder / "config.json") in str(error.value)


WEIGHTS = {
    "missing": (lambda s: s.pop("encoder_bias"), r"lacks 'encoder_bias' of shape \[10\]; it holds .*decoder_bias"),
    "shape": (lambda s: s.update(decoder_bias=torch.zeros(7)), r"'decoder_bias' should have shape \[6\], found \[7\]"),
    "surplus": (lambda s: s.update(spare=torch.zeros(1)), "holds 'spare', which this dictionary has not"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_damaged_weights(folder: Path, name: str) -> None:
    change, message = WEIGHTS[name]
    edit_weights(folder, change)
    with pytest.raises(ValueError, match=message) as error:
        read_dictionary(folder)
    assert str(folder / "weights.safetensors") in str(error.value)


@pytest.mark.parametrize("left", [0, 4, 100, -1])
def test_truncated_weights(folder: Path, left: int) -> None:
    file = folder / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"weights.safetensors is missing, cut or not a safetensors file"):
        read_dictionary(folder)


def test_missing_weights_and_unreadable_config(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights.safetensors is missing"):
        read_dictionary(folder)
    for content in (b"{", b"\xff\xfe", b"[1, 2]"):
        (folder / "config.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"config.json is not a"):
            read_dictionary(folder)
