"""`requirements.lock`: what it pins, that it is what `make lock` writes, and that every system can resolve it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNREACHABLE = re.compile(
    r"Failed to fetch|error sending request|Could not connect|dns error|timed out|Connect(?:ion)?Error"
)


def pins() -> list[Requirement]:
    """Every line of the lock, its comments dropped."""
    lines = [
        line.split("#")[0].strip() for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    ]
    found = [Requirement(line) for line in lines if line]
    assert len(found) > 100
    return found


def wanted() -> list[Requirement]:
    """What pyproject.toml asks for, the extras included."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]


def version_of(pin: Requirement) -> Version:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is not pinned"
    return Version(specifier.version)


def uv(*arguments: str, lines: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run `uv pip compile`; skip where the index cannot be reached, fail with uv's words where it can."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, input=lines, capture_output=True, text=True, timeout=400, env={**os.environ, **(env or {})}
    )
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"the package index does not answer uv: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_and_its_triton_are_the_pair() -> None:
    lines = [str(pin) for pin in pins() if pin.name in ("torch", "triton")]
    assert lines == ["torch==2.13.0", 'triton==3.7.1; sys_platform == "linux"']


def test_no_cuda_package_is_pinned() -> None:
    assert not [pin.name for pin in pins() if pin.name.startswith(("nvidia", "cuda"))]


def test_everything_asked_for_is_pinned_within_its_range() -> None:
    locked: dict[str, list[Version]] = {}
    for pin in pins():
        locked.setdefault(canonicalize_name(pin.name), []).append(version_of(pin))
    for requirement in wanted():
        versions = locked.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} is asked for in pyproject.toml and not in the lock: run make lock"
        assert all(version in requirement.specifier for version in versions), f"{requirement}, locked {versions}"


def test_this_environment_is_the_lock() -> None:
    """Every pin that applies here is installed in its version (torch's build, such as +cpu, does not count)."""
    if not Path(sys.prefix, "saekit.json").exists():
        pytest.skip("this environment was not made by environment.py")
    environment = {key: str(value) for key, value in default_environment().items()}
    checked = 0
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate(environment):
            installed = Version(importlib.metadata.version(pin.name))
            assert installed.public == version_of(pin).public, pin.name
            checked += 1
    assert checked > 100


@pytest.mark.slow
def test_the_lock_is_what_make_lock_writes(tmp_path: Path) -> None:
    """Compiling again, with what is pinned preferred, changes nothing."""
    again = tmp_path / "lock.txt"
    again.write_text((ROOT / "requirements.lock").read_text(encoding="utf-8"), encoding="utf-8")
    uv("--universal", "--python-version", "3.11", "--all-extras", "pyproject.toml", "--output-file", str(again))
    lines = [line.split("#")[0].strip() for line in again.read_text(encoding="utf-8").splitlines()]
    fresh = {str(Requirement(line)) for line in lines if line and not line.startswith(("nvidia-", "cuda-"))}
    assert {str(pin) for pin in pins()} == fresh, "requirements.lock is not what pyproject.toml asks for: run make lock"


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("platform", ["linux", "macos", "windows"])
def test_every_system_resolves_the_top_level_pins(platform: str, python: str) -> None:
    names = {canonicalize_name(requirement.name): requirement for requirement in wanted()}
    top = []
    for pin in pins():
        requirement = names.get(canonicalize_name(pin.name))
        if requirement is not None:
            pin.extras = requirement.extras
            top.append(str(pin))
    assert len(top) >= len(names)
    # torch has wheels for macOS from 14 on, Apple silicon alone.
    resolved = uv(
        "-", "--python-platform", platform, "--python-version", python,
        lines="\n".join(top), env={"MACOSX_DEPLOYMENT_TARGET": "14.0"},
    )  # fmt: skip
    assert re.search(r"^torch==2\.13\.0", resolved, flags=re.MULTILINE)
    assert bool(re.search(r"^triton==3\.7\.1", resolved, flags=re.MULTILINE)) is (platform == "linux")
    assert bool(re.search(r"^nvidia-", resolved, flags=re.MULTILINE)) is (platform == "linux")
