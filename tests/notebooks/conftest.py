"""What the tests of notebooks share: run.py as a module, small notebooks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


@pytest.fixture(scope="session")
def run() -> Any:
    """notebooks/run.py as a module."""
    spec = importlib.util.spec_from_file_location("notebooks_run", REPOSITORY / "notebooks" / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_notebook_to() -> Callable[..., Path]:
    """Write a notebook of code cells (and Markdown for texts that begin with '#') into a folder; returns its path.
    `parameters` becomes the cell tagged so."""

    def write(folder: Path, *cells: str, parameters: str = "", name: str = "small.ipynb") -> Path:
        v4 = nbformat.v4
        made = [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters else []
        made += [v4.new_markdown_cell(c) if c.startswith("# ") else v4.new_code_cell(c) for c in cells]
        path = folder / name
        nbformat.write(v4.new_notebook(cells=made, metadata={"kernelspec": KERNELSPEC}), path)
        return path

    return write


@pytest.fixture
def write_notebook(write_notebook_to: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """The same, into tmp_path."""
    return partial(write_notebook_to, tmp_path)
