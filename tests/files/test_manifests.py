"""Manifests: what is written is read, and a folder that holds something else is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import pytest

from saekit.files.manifests import as_read, check_same, write_json

THERE = {"seed": 0, "settings": {"top": 3, "bands": [1, 2], "old": True}, "progress": 5}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    content = {"sizes": (1, 2), "proxy": MappingProxyType({"a": None})}
    write_json(tmp_path / "manifest.json", content)
    read = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert read == as_read(content) == {"sizes": [1, 2], "proxy": {"a": None}}


def test_the_same_passes_whatever_else_is_there() -> None:
    check_same(Path("a"), "run", THERE, {"seed": 0, "settings": {"top": 3, "bands": (1, 2), "old": True}})


@pytest.mark.parametrize(
    ("here", "differ"),
    [
        ({"seed": 1}, "seed (there 0, here 1)"),
        ({"seed": None}, "seed (there 0, here None)"),
        ({"new": "x"}, "new (there None, here 'x')"),
        (
            {"seed": 2, "settings": {"top": 4, "bands": [1], "new": 1.5}},
            "seed (there 0, here 2); settings.top (there 3, here 4); settings.bands (there [1, 2], here [1]); "
            "settings.new (there None, here 1.5); settings.old (there True, here None)",
        ),
        ({"settings": None}, "settings (there {'top': 3, 'bands': [1, 2], 'old': True}, here None)"),
    ],
)
def test_every_field_that_differs_is_named_with_both_values(here, differ) -> None:
    with pytest.raises(ValueError) as caught:
        check_same(Path("runs/a"), "run", THERE, here, "another out=")
    assert str(caught.value) == f"runs/a holds another run; it differs in {differ}. Choose another out=."
