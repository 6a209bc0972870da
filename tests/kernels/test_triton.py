"""The Triton kernels under Triton's interpreter: the checks of tests/kernels/interpreted, run in one other process.

TRITON_INTERPRET must be set before triton is imported, and this session may have imported it already. Each check is
one test here, named file::function; its parametrised cases must all pass.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "interpreted"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "conftest.py")
CHECKS = [
    f"{path.stem}::{node.name}"
    for path in FILES
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """file::function → what went wrong in each of its cases ("" where nothing did)."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (it exists for Linux alone)")
    report = tmp_path_factory.mktemp("interpreted") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, *map(str, FILES)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert report.is_file(), done.stdout + done.stderr
    found: dict[str, list[str]] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name', '').partition('[')[0]}"
        wrong = [f"{case.get('name')}: {child.text}" for child in case if child.tag in ("failure", "error", "skipped")]
        found.setdefault(name, []).append("\n".join(wrong))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_interpreted(check: str, outcomes: dict[str, list[str]]) -> None:
    assert check in outcomes, f"{check} was not run: {sorted(outcomes)}"
    wrong = [text for text in outcomes[check] if text]
    assert not wrong, "\n\n".join(wrong)


def test_there_are_checks() -> None:
    assert CHECKS, f"no check was found in {FOLDER}"
