"""The JavaScript: pure functions in node, types, and the committed bundles against a rebuild."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WIDGETS = HERE.parents[1] / "widgets"
STATIC = WIDGETS / "saekit_widgets" / "static"


def node(*arguments: str) -> str:
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the committed bundles need none")
    done = subprocess.run(["node", *arguments], cwd=WIDGETS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages() -> None:
    if not (WIDGETS / "node_modules" / "esbuild").is_dir():
        pytest.skip("widgets/node_modules is missing: run `npm ci` in widgets/ to compare the bundles with a rebuild")


def test_pure_functions() -> None:
    files = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    assert files and re.search(r"# fail 0", node("--test", "--test-reporter=tap", *files))


def test_bundles_are_what_a_rebuild_gives(tmp_path) -> None:
    packages()
    node("build.mjs", str(tmp_path))
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_bytes() for path in STATIC.iterdir()}, "run `npm run build` in widgets/"


def test_types() -> None:
    packages()
    node(os.path.join("node_modules", "typescript", "bin", "tsc"), "--project", "jsconfig.json")


def test_bundles_are_small_and_name_no_address() -> None:
    bundles = sorted(STATIC.glob("*.js"))
    assert [path.name for path in bundles] == ["feature_browser.js", "training_monitor.js"]
    for path in bundles:
        text = path.read_text(encoding="utf-8")
        assert len(text.encode()) <= 72_000
        addresses = set(re.findall(r"https?://[\w./-]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of SVG, never fetched
        for forbidden in ("innerHTML", "insertAdjacentHTML", "document.write", "fetch(", "XMLHttpRequest", "import("):
            assert forbidden not in text


def test_the_lock_names_no_registry() -> None:
    lock = (WIDGETS / "package-lock.json").read_text()
    assert "http" not in re.sub(r'"(funding|url)":.*', "", lock)
