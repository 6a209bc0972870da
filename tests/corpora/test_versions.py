"""The same bytes on every Python: other interpreters, where some are found, must give the same fingerprints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lazy_loader
import pytest

import saekit
from saekit.corpora import load_corpus

CODE = """
from saekit.corpora import load_corpus
for source, split, n in {cases!r}:
    print(load_corpus(source, split, n=n, seed=3).fingerprint)
"""
CASES = [
    ("microworld", "train", 400),
    ("microworld", "unseen", 200),
    ("python", "train", 200),
    ("python", "heldout", 100),
    ("pipelines", "train", 200),
]


def other_pythons() -> dict[tuple[int, int], str]:
    """One interpreter of each version from 3.11 on that is not the running one, from PATH and pyenv's folder."""
    names = [found for minor in range(11, 16) if (found := shutil.which(f"python3.{minor}"))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names += [str(path) for path in sorted(pyenv.glob("3.*/bin/python"))]
    found: dict[tuple[int, int], str] = {}
    for name in names:
        asked = subprocess.run([name, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
        if asked.returncode == 0:
            version = tuple(map(int, asked.stdout.split()))
            if version >= (3, 11) and version != sys.version_info[:2]:
                found.setdefault(version, name)  # type: ignore[arg-type]
    return found


@pytest.mark.slow
def test_other_interpreters_give_the_same_fingerprints(tmp_path):
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python from 3.11 on was found on PATH or under pyenv")
    here = [load_corpus(source, split, n=n, seed=3).fingerprint for source, split, n in CASES]
    root = Path(saekit.__file__).parent.parent
    # All that importing saekit.corpora needs of others; it is plain Python.
    shutil.copytree(Path(lazy_loader.__file__).parent, tmp_path / "lazy_loader")
    path = os.pathsep.join(map(str, (root, tmp_path)))
    for version, name in pythons.items():
        run = subprocess.run(
            [name, "-c", CODE.format(cases=CASES)],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.returncode == 0, (version, run.stderr[-500:])
        assert run.stdout.split() == here, version
    print("same on", sys.version_info[:2], *pythons)


def test_known_fingerprints():
    """Pinned: a change of these bytes is a change of the corpus, and of every dictionary's provenance."""
    assert load_corpus("microworld").fingerprint.startswith(MICROWORLD)
    assert load_corpus("python", "heldout").fingerprint.startswith(PYTHON)


MICROWORLD, PYTHON = "a1aeede4f985", "652df1354f99"
