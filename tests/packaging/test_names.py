"""No public name of a package is also the name of a module in it: after a reload it would be the other one."""

from __future__ import annotations

import importlib
import pkgutil
import types

import pytest

EXEMPT = {
    "saekit_kernels.decode": "the operation that outsiders call; its folder has no module of another meaning",
    "saekit_kernels.top_k": "the operation that outsiders call; its folder has no module of another meaning",
}


def packages(root: str) -> list[str]:
    home = importlib.import_module(root)
    inner = pkgutil.walk_packages(home.__path__, root + ".")
    return [root, *(module.name for module in inner if module.ispkg)]


def shadowed(package: types.ModuleType) -> set[str]:
    """Submodules whose name the package binds to a function or a class."""
    names = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return {name for name in names if isinstance(vars(package).get(name), type | types.FunctionType)}


@pytest.mark.parametrize("root", ["saekit", "saekit_kernels", "saekit_widgets"])
def test_no_name_shadows_its_module(root):
    found = {f"{name}.{each}" for name in packages(root) for each in shadowed(importlib.import_module(name))}
    assert found == {name for name in EXEMPT if name.partition(".")[0] == root}


def test_the_rule_itself_catches(tmp_path, monkeypatch):
    home = tmp_path / "shadowing"
    home.mkdir()
    (home / "__init__.py").write_text("from shadowing.score import score\nfrom shadowing.draw import drawn\n")
    (home / "score.py").write_text("def score(): ...\n")
    (home / "draw.py").write_text("def drawn(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert shadowed(importlib.import_module("shadowing")) == {"score"}
