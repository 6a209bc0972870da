"""Imports point one way. Every import of every module is read from its source, those inside functions included."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {"saekit": ROOT, "saekit_kernels": ROOT / "kernels", "saekit_widgets": ROOT / "widgets"}

# Parts of saekit, in order: each may import itself, those in its own line and those above it.
ORDER = [
    {"files"},
    {"corpora"},
    {"models"},
    {"engines"},
    {"activations"},
    {"objectives"},
    {"dictionaries"},
    {"formats"},
    {"interventions"},
    {"metrics"},
    {"training"},
    {"features"},
    {"circuits", "steering", "widgets"},
]
PLOTS = "plots"  # imports no other part; every part may import it
ABOVE = ("checks", "making")  # may import every part; imported by notebooks, or by nobody

KERNELS_KNOW = {"torch", "triton", "jaxtyping"}
WIDGETS_KNOW = {"anywidget", "tqdm", "traitlets", "ipywidgets", "IPython", "numpy"}
HEAVY = ["transformer_lens", "transformers", "altair", "pandas", "IPython"]


def modules(package: str) -> dict[str, Path]:
    """Dotted name → file of every module of a package."""
    base = SOURCES[package]
    found = {}
    for path in sorted((base / package).rglob("*.py")):
        parts = list(path.relative_to(base).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> Iterator[str]:
    """Every dotted name that a module imports, anywhere in it; `from a import b` counts as a.b."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            home = ".".join(part for part in (above, node.module) if part)
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def rank(part: str) -> int:
    places = [i for i, parts in enumerate(ORDER) if part in parts]
    assert places, f"saekit.{part} has no place in ORDER: give it one"
    return places[0]


def complaints(name: str, path: Path) -> list[str]:
    """What is wrong with one module's imports, in words; an empty list when nothing is."""
    root, _, rest = name.partition(".")
    part = rest.split(".")[0]
    wrong = []
    for target in imports(name, path):
        other, _, inner = target.partition(".")
        to = inner.split(".")[0]
        standard = other in sys.stdlib_module_names
        if root == "saekit_kernels":
            bad = not (standard or other == root or other in KERNELS_KNOW)
        elif root == "saekit_widgets":
            bad = not (standard or other == root or other in WIDGETS_KNOW)
        elif other != "saekit" or not part or to == "__version__":
            bad = False  # other libraries; the table of contents itself
        elif not to or not ((ROOT / "saekit" / to).exists() or (ROOT / "saekit" / f"{to}.py").exists()):
            bad = True  # a part imports from the part's home, never from the table of contents
        elif part == to:
            bad = False
        elif to in ABOVE or part == PLOTS:
            bad = True
        elif to == PLOTS or part in ABOVE:
            bad = False
        else:
            bad = rank(to) > rank(part)
        if bad:
            wrong.append(f"{path.relative_to(ROOT)} imports {target}")
    return wrong


@pytest.mark.parametrize("package", SOURCES)
def test_imports_point_one_way(package: str) -> None:
    found = modules(package)
    if not found and package != "saekit":
        pytest.skip(f"{package} is not there yet")
    assert found, f"no module of {package} was found, so nothing was checked"
    wrong = [complaint for name, path in found.items() for complaint in complaints(name, path)]
    assert not wrong, "\n".join(["imports against the order:", *wrong])


def test_every_part_has_its_place() -> None:
    parts = {path.parent.name for path in (ROOT / "saekit").glob("*/__init__.py")}
    assert parts
    for part in parts - {PLOTS, *ABOVE}:
        rank(part)


@pytest.mark.parametrize(
    ("name", "source", "caught"),
    [
        ("saekit.models.load", "def f():\n    from saekit.training import train", True),
        ("saekit.models.load", "from ..training import train", True),
        ("saekit.models.load", "from saekit import training", True),
        ("saekit.models.load", "from saekit import TopK", True),
        ("saekit.models.load", "import saekit", True),
        ("saekit.models.load", "import importlib\nimportlib.import_module('saekit.metrics')", True),
        ("saekit.models.load", "from saekit.checks import check", True),
        (
            "saekit.models.load",
            "from saekit.corpora import Document\nfrom saekit import __version__\nimport torch",
            False,
        ),
        ("saekit.models.load", "from . import hashing\nfrom saekit.plots import theme", False),
        ("saekit.plots.charts", "from saekit.metrics import Report", True),
        ("saekit.checks.first", "from saekit.training import train", False),
        ("saekit.models.load", "from saekit.making import card", True),
        ("saekit.making.card", "from saekit.training import train", False),
        ("saekit_kernels.top_k", "import numpy", True),
        ("saekit_kernels.top_k", "import torch, math\nfrom saekit_kernels.sparse_codes import SparseCodes", False),
        ("saekit_widgets.monitor", "import torch", True),
        ("saekit_widgets.monitor", "from saekit.metrics import Report", True),
    ],
)
def test_the_rule_itself_catches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, source: str, caught: bool
) -> None:
    """Each wrong import above is caught, and the right ones are not."""
    for part in ["models", "training", "metrics", "corpora", "plots", "checks", "making"]:
        (tmp_path / "saekit" / part).mkdir(parents=True)
    path = tmp_path / "module.py"
    path.write_text(source)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert bool(complaints(name, path)) is caught


def seconds_to_import(statement: str) -> tuple[float, set[str]]:
    """Wall time of one import statement in a fresh interpreter, and the modules that it loaded."""
    code = (
        f"import sys, time; began = time.perf_counter()\n{statement}\nprint(time.perf_counter() - began, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *loaded = done.stdout.split()
    return float(first), set(loaded)


@pytest.mark.timing
def test_importing_saekit_costs_no_more_than_torch() -> None:
    seconds_to_import("import torch")  # compiles and fills the disk's cache
    pairs = [(seconds_to_import("import torch")[0], seconds_to_import("import saekit")) for _ in range(3)]
    torch_seconds = min(seconds for seconds, _ in pairs)
    saekit_seconds = min(seconds for _, (seconds, _) in pairs)
    loaded = pairs[0][1][1]
    assert "saekit" in loaded
    assert not loaded & set(HEAVY), f"import saekit loads {sorted(loaded & set(HEAVY))}"
    assert saekit_seconds <= 1.3 * torch_seconds + 0.3, f"{saekit_seconds:.2f} s, and torch {torch_seconds:.2f} s"


@pytest.mark.parametrize("part", ["files", "corpora", "corpora.predicates", "plots"])
def test_these_parts_need_no_torch(part: str) -> None:
    if not (ROOT / "saekit" / part.replace(".", "/") / "__init__.py").exists():
        pytest.skip(f"saekit.{part} is not there yet")
    _, loaded = seconds_to_import(f"import saekit.{part}")
    assert f"saekit.{part}" in loaded and "torch" not in loaded


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
    ids=["default", "kept", "policy"],
)
def test_threads_spin_for_a_short_while_unless_somebody_says_otherwise(given: dict[str, str], expected: str) -> None:
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | given
    code = "import saekit, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.split() == [expected, "False"]


def test_the_table_of_contents_names_what_is_there() -> None:
    """Every name of __init__.pyi is there, and what is not there is an error."""
    import saekit as sk

    assert set(sk.__all__) <= set(dir(sk)) and "__version__" in dir(sk)
    assert {"train", "export", "SparseCodes", "FeatureBrowser", "metrics"} <= set(sk.__all__)
    assert all(getattr(sk, name) is not None for name in sk.__all__)
    with pytest.raises(AttributeError, match="module 'saekit' has no attribute 'trian'"):
        _ = sk.trian  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="DictionaryConfiguration is called Method now"):
        _ = sk.DictionaryConfiguration  # type: ignore[attr-defined]
