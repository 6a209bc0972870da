"""The registry: saekit's own format is one of them, and one from outside loads and exports like it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.dictionaries import Dictionary, ReLU, TopK, Wiring
from saekit.formats import REGISTRY, Format, native, register


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The format of own_format.py, registered for one test."""
    import own_format

    yield own_format
    del REGISTRY["rows"], sys.modules["own_format"]


@pytest.fixture
def sae() -> Dictionary:
    return TopK(d_sae=6, k=2).build(Wiring("x"), {"x": 3})


def test_saekits_own_is_what_save_writes(sae: Dictionary, tmp_path: Path) -> None:
    assert next(iter(REGISTRY.values())) is native.NATIVE
    written, saved = sk.export(sae, tmp_path / "a"), sae.save(tmp_path / "b")
    for name in ("config.json", "weights.safetensors"):
        assert (written / name).read_bytes() == (saved / name).read_bytes()
    assert torch.equal(sk.load_dictionary(written).decoder_directions, sae.decoder_directions)


def test_one_from_outside_in_one_file(own: Any, sae: Dictionary, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no dictionary of a known format"):
        (tmp_path / "rows.txt").write_text("")
        sk.load_dictionary(tmp_path)
    folder = sk.export(sae, tmp_path / "out", format="rows")
    assert [path.name for path in folder.iterdir()] == ["rows.npz"]
    for place in (folder, folder / "rows.npz"):
        loaded = sk.load_dictionary(place, dtype=torch.float64)
        assert torch.equal(loaded.decoder_directions, sae.decoder_directions.double()) and loaded.method.k == 2
    with pytest.raises(ValueError, match="holds TopK dictionaries, found ReLU"):
        sk.export(ReLU(d_sae=6, sparsity_weight=0.1).build(Wiring("x"), {"x": 3}), tmp_path, format="rows")
    with pytest.raises(ValueError, match=r"format cannot be 'rws'; the closest is 'rows' \(of saekit, rows\)"):
        sk.export(sae, tmp_path, format="rws")
    with pytest.raises(ValueError, match=r"of a known format \(saekit, rows\); found rows\.txt"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "rows.txt").write_text("")
        sk.load_dictionary(tmp_path / "other")


def test_a_name_is_given_once_and_what_is_only_read_is_not_written(sae: Dictionary, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is a format 'saekit' already"):
        register(Format("saekit", native.matches, lambda path, dtype: sae))
    assert register(native.NATIVE) is native.NATIVE, "again is no harm"
    register(Format("read", lambda path: path.name == "mine", lambda path, dtype: sae))
    try:
        (tmp_path / "mine").mkdir()
        assert sk.load_dictionary(tmp_path / "mine") is sae
        with pytest.raises(ValueError, match="format cannot be 'read'; the only one is 'saekit'"):
            sk.export(sae, tmp_path, format="read")
    finally:
        del REGISTRY["read"]
