"""No two files of one part import each other in a circle: imports inside functions and for types alone count too."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"saekit": ROOT, "saekit_kernels": ROOT / "kernels", "saekit_widgets": ROOT / "widgets"}


def modules(base: Path, package: str) -> dict[str, Path]:
    """Dotted name → file of every module of a package; a package's own name is that of its ``__init__``."""
    found = {}
    for path in sorted((base / package).rglob("*.py")):
        parts = path.relative_to(base).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules among ``known`` that a file imports, wherever in it: of ``from a import b`` a.b where it is a module,
    else a."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [(alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            home = ".".join(part for part in (above, node.module) if part)
            targets = [(f"{home}.{alias.name}", home) for alias in node.names]
        else:
            continue
        yield from (exact if exact in known else home for exact, home in targets if exact in known or home in known)


def part_of(name: str) -> str:
    """saekit.features.store → saekit.features; of the other packages the whole."""
    return ".".join(name.split(".")[: 2 if name.startswith("saekit.") else 1])


def circles(base: Path, package: str) -> list[tuple[str, ...]]:
    """Groups of files of one part of which each reaches the others by imports (strongly connected components)."""
    known = modules(base, package)
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, path in known.items():
        arrows[name] = {to for to in imported(name, path, known) if to != name and part_of(to) == part_of(name)}
    reached = {name: _reached(name, arrows) for name in known}
    groups = {tuple(sorted(b for b in reached[a] if a in reached[b])) for a in known if a in reached[a]}
    return sorted(groups)


def _reached(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [*arrows[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += arrows[name]
    return found


@pytest.mark.parametrize("package", SOURCES)
def test_no_files_of_a_part_import_each_other_in_a_circle(package: str) -> None:
    assert modules(SOURCES[package], package), f"no module of {package} was found, so nothing was checked"
    found = circles(SOURCES[package], package)
    assert not found, "\n".join(["files that import each other:", *(" ↔ ".join(group) for group in found)])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"p/a": "from saekit.p import b", "p/b": "import saekit.p.a"}, [("saekit.p.a", "saekit.p.b")]),
        (
            {"p/a": "from saekit.p.b import f", "p/b": "def g():\n    from saekit.p.a import f"},
            [("saekit.p.a", "saekit.p.b")],
        ),
        (
            {
                "p/a": "from .b import f",
                "p/b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import a",
            },
            [("saekit.p.a", "saekit.p.b")],
        ),
        (
            {"p/a": "from .b import f", "p/b": "from .c import f", "p/c": "from .a import f"},
            [("saekit.p.a", "saekit.p.b", "saekit.p.c")],
        ),
        ({"p/__init__": "from .a import f", "p/a": "from saekit.p import g"}, [("saekit.p", "saekit.p.a")]),
        ({"p/__init__": "from .a import f", "p/a": "import torch", "p/b": "from saekit.p.a import f"}, []),
        ({"p/a": "from saekit.q.b import f", "q/b": "from saekit.p.a import f"}, []),  # between parts: test_imports
        ({"p/a": "from saekit.p.a import f"}, []),
    ],
    ids=["plain", "lazy", "types", "three", "face", "none", "parts", "itself"],
)
def test_the_rule_itself_catches(tmp_path: Path, files: dict[str, str], expected: list[tuple[str, ...]]) -> None:
    for name, source in files.items():
        path = tmp_path / "saekit" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    assert circles(tmp_path, "saekit") == expected
