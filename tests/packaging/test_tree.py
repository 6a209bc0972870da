"""What the files of the checkout promise each other: no stray package, clean notebooks, one range of Pythons."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import saekit

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def files() -> list[Path]:
    """Every file that is, or is about to be, in the repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git does not list this tree's files: {error}")
    found = [ROOT / name for name in done.stdout.split("\0") if name]
    assert len(found) > 20
    return [path for path in found if path.is_file()]


def test_no_folder_becomes_a_package_by_accident() -> None:
    for folder in ["kernels", "widgets", "notebooks"]:
        assert not (ROOT / folder / "__init__.py").exists(), folder
    strays = [path for path in (ROOT / "tests").rglob("__init__.py")]
    assert not strays, strays


def test_no_file_names_a_path_of_one_machine() -> None:
    """The paths of whoever wrote it last: this checkout, what is shared beside it, and anybody's home folder."""
    here = [re.escape(str(path)) for path in (ROOT, ROOT.parent / "shared", Path.home()) if len(path.parts) > 1]
    pattern = re.compile(rf"(?<![\w./])(?:{'|'.join(here)}|/(?:home|Users)/[a-z][\w-]*)(?![\w-])")
    named, texts = [], 0
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        texts += 1
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                named.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert texts > 20
    assert not named, "\n".join(named)


@pytest.mark.parametrize("path", NOTEBOOKS or [None], ids=lambda path: path.name if path else "none")
def test_notebooks_are_committed_clean(path: Path | None) -> None:
    if path is None:
        pytest.skip("there is no notebook yet")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        assert not cell["outputs"] and cell["execution_count"] is None, f"outputs: {''.join(cell['source'])[:80]}"
    assert "widgets" not in notebook["metadata"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1, "papermill needs exactly one cell tagged parameters"


def test_one_range_of_pythons_everywhere() -> None:
    assert PYPROJECT["project"]["requires-python"] == ">=3.11,<3.14"
    minors = ["3.11", "3.12", "3.13"]
    named = [line.rpartition(" ")[2] for line in PYPROJECT["project"]["classifiers"] if "Python :: 3." in line]
    assert named == minors

    spec = importlib.util.spec_from_file_location("environment_of_tree", ROOT / "environment.py")
    assert spec is not None and spec.loader is not None
    environment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(environment)
    assert [f"{major}.{minor}" for major, minor in environment.PYTHONS] == minors

    assert "python >=3.11,<3.14" in (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        PYPROJECT["tool"]["ruff"]["target-version"] == "py311" and PYPROJECT["tool"]["mypy"]["python_version"] == "3.11"
    )


def test_environment_yml_is_python_pip_and_the_lock() -> None:
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()]
    entries = [line[2:] for line in lines if line.startswith("- ")]
    assert entries == ["conda-forge", "python >=3.11,<3.14", "pip", "pip:", "-r requirements.lock", "-e ."]


def test_the_version_is_said_once_and_the_same() -> None:
    source = (ROOT / "saekit" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{PYPROJECT["project"]["version"]}"' in source
    assert f"## {PYPROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_names_targets_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", readme, flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {"demo", "test", "lab", "curriculum"} <= named
    assert named <= targets, named - targets


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and len(text) > 11_000
    assert PYPROJECT["project"]["license"] == "Apache-2.0"


def test_the_code_in_the_readme_uses_names_that_exist() -> None:
    """The ten lines and those after them compile, and each `sk.` name in them is public."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    tree = ast.parse("".join(blocks))
    assert len([line for line in blocks[0].splitlines() if line.strip()]) <= 10
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sk"
    }
    assert {"load_model", "train", "FeatureStore", "FeatureBrowser"} <= names <= set(saekit.__all__)
