"""`environment.py`: every failure is one sentence that says what to do; what is up to date is left alone.

Each test runs the script as the Makefile does, in a copy of the few files that it reads, so that this checkout's own
`.venv` is never touched. Nothing here needs a network: the index named to pip is a closed port of this machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path("environment.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script reads, and nothing more."""
    (tmp_path / "saekit").mkdir()
    for name in [SCRIPT, "requirements.lock", "pyproject.toml", "README.md", "LICENSE", "Makefile"]:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="session")
def empty_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pip alone, made once and copied, since making one takes five seconds."""
    folder = tmp_path_factory.mktemp("empty") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def module(checkout: Path):
    """The script loaded as a module, for what cannot be had for real (a full disk)."""
    spec = importlib.util.spec_from_file_location("environment_under_test", checkout / SCRIPT)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def no_network(checkout: Path) -> dict[str, str]:
    """pip's settings with one index only, which nobody serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PIP_") and not k.lower().endswith("_proxy")}
    return {
        **kept,
        "HOME": str(checkout),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple",
        "PIP_RETRIES": "1",
        "PIP_TIMEOUT": "2",
    }


def run(checkout: Path, *arguments: str, python: str = sys.executable, env: dict[str, str] | None = None):
    command = [python, "-I", str(checkout / SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def sentence(result: subprocess.CompletedProcess) -> str:
    """The one line on standard error of a failed run."""
    assert result.returncode == 1, result.stdout + result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and lines[0].endswith("."), result.stderr
    assert "Traceback" not in result.stdout
    return lines[0]


def interpreters() -> dict[str, str]:
    """Every Python 3 found on PATH and under pyenv that runs: version → path."""
    candidates = [shutil.which(f"python3.{minor}") for minor in range(6, 16)]
    candidates += [str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3")]
    found = {}
    for path in filter(None, candidates):
        try:
            done = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=30)
        except OSError:
            continue
        version = re.match(r"Python (3\.\d+)", done.stdout)
        if done.returncode == 0 and version:
            found.setdefault(version.group(1), path)
    return found


def test_an_old_python_that_is_really_there_gets_the_sentence(checkout: Path) -> None:
    others = {version: path for version, path in interpreters().items() if version not in ("3.11", "3.12", "3.13")}
    if not others:
        pytest.skip("no Python 3 other than 3.11 to 3.13 is installed here")
    for version, path in others.items():
        assert f"needs Python 3.11, 3.12 or 3.13 and this is {version}" in sentence(run(checkout, python=path))


@pytest.mark.parametrize("version", [(3, 6, 0), (3, 10, 14), (3, 14, 0), (4, 0, 0)])
def test_a_python_outside_the_range_is_refused(module, version: tuple[int, int, int]) -> None:
    with pytest.raises(module.Failure, match=rf"this is {version[0]}\.{version[1]} "):
        module.check_python(version)


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 1), (3, 13, 9)])
def test_a_python_inside_the_range_is_taken(module, version: tuple[int, int, int]) -> None:
    module.check_python(version)


def test_without_ensurepip_the_package_to_install_is_named(module, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name))
    monkeypatch.setattr(module, "NEEDED_BYTES", 0)
    assert module.main([]) == 1
    minor = sys.version_info[1]
    assert f"apt install python3.{minor}-venv" in capsys.readouterr().err
    assert not (Path(module.VENV)).exists()


def test_too_little_disk_stops_before_anything_is_made(module, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**11, 10**11, 10**9))  # type: ignore[attr-defined]
    assert module.main([]) == 1
    assert "1.0 GB free and the environment needs 4.0 GB" in capsys.readouterr().err
    assert not Path(module.VENV).exists()


def test_what_a_half_made_environment_holds_counts_as_free(module, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(module.VENV).mkdir()
    Path(module.VENV, "held").write_bytes(b"x" * 5000)
    monkeypatch.setattr(module, "NEEDED_BYTES", 10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 5000))  # type: ignore[attr-defined]
    module.check_disk()
    monkeypatch.setattr(module, "NEEDED_BYTES", 10_001)
    with pytest.raises(module.Failure):
        module.check_disk()


def test_a_disk_that_fills_up_midway_is_said(module, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "make", full)
    assert module.main([]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert "disk is full" in module.explain("ERROR: Could not install packages: [Errno 28] No space left on device")


def test_without_a_network_the_first_run_says_so_and_the_next_one_goes_on(checkout: Path) -> None:
    environment = no_network(checkout)
    first = run(checkout, env=environment)
    assert "index did not answer" in sentence(first) and "needs a network" in first.stderr
    log = checkout / ".venv" / "install.log"
    assert str(log) in first.stderr and log.stat().st_size > 0
    note = json.loads((checkout / ".venv" / "saekit.json").read_text())
    assert note["complete"] is False and not (checkout / ".venv" / "tmp").exists()
    assert "a fresh .venv" in first.stdout
    second = run(checkout, env=environment)
    assert "index did not answer" in sentence(second) and "completing it" in second.stdout


@pytest.mark.parametrize("damage", ["torch=2.13.0\n", "<<<<<<< HEAD\n", "torch==2.13.0 ; sys_platfrom == 'linux'\n"])
def test_a_damaged_lock_is_named(checkout: Path, empty_venv: Path, damage: str) -> None:
    shutil.copytree(empty_venv, checkout / ".venv", symlinks=True)
    (checkout / "requirements.lock").write_text(damage)
    assert "requirements.lock is damaged" in sentence(run(checkout, env=no_network(checkout)))


def test_a_missing_lock_is_named(checkout: Path) -> None:
    (checkout / "requirements.lock").unlink()
    assert "requirements.lock: No such file" in sentence(run(checkout))


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for torch==2.13.0\n",
            "no torch==2.13.0",
        ),
        ("NewConnectionError('x')\nERROR: No matching distribution found for torch==2.13.0\n", "did not answer"),
        ("  Failed to build 'thing'\nERROR: Failed to build thing", "thing could not be built"),
        ("ERROR: something nobody expected", "something nobody expected"),
        ("ERROR: Exception:\nTraceback (most recent call last):\nKeyError: 'x'\n", "KeyError: 'x'"),
        ("", "no message"),
    ],
)
def test_what_pip_says_becomes_one_sentence(module, log: str, expected: str) -> None:
    assert expected in module.explain(log) and "\n" not in module.explain(log)


def test_progress_counts_what_pip_wrote(module) -> None:
    log = (
        "Ignoring appnope: markers don't match your environment\n"
        "Collecting torch==2.13.0 (from -r requirements.lock (line 9))\n  Downloading torch-2.whl (190.5 MB)\n"
        "Collecting six==1 (from x)\n  Downloading six-1.whl.metadata (500 kB)\n"
        "Collecting loose (from torch==2.13.0)\n"
    )
    assert module.progress(log, wanted=4) == "2 packages of at most 3 looked up, 191 MB fetched"
    assert module.progress(log + "Installing collected packages: six, torch", 4) == "putting the packages in place"


@pytest.fixture
def ready(checkout: Path, module, empty_venv: Path) -> dict:
    """A finished environment as far as the script can see: a Python with pip, and the note."""
    shutil.copytree(empty_venv, checkout / ".venv", symlinks=True)
    note = {
        "root": str(checkout),
        "torch_index": "",
        "lock": module.digest(str(checkout / "requirements.lock")),
        "metadata": module.digest(str(checkout / "pyproject.toml")),
        "python": list(sys.version_info[:2]),
        "complete": True,
    }
    module.write_note(note)
    return note


def test_a_link_to_an_empty_folder_is_followed_and_what_is_there_is_completed(checkout: Path, tmp_path_factory) -> None:
    for target in (tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("disk") / "not" / "yet"):
        link = checkout / ".venv"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        first = run(checkout, env=no_network(checkout))
        assert "index did not answer" in sentence(first) and "a fresh .venv" in first.stdout
        assert link.is_symlink() and (target / "pyvenv.cfg").is_file()
        assert json.loads((target / "saekit.json").read_text())["root"] == str(checkout)
        assert "completing it" in run(checkout, env=no_network(checkout)).stdout


def test_a_finished_environment_behind_a_link_is_left_alone(checkout: Path, ready: dict, tmp_path_factory) -> None:
    place = tmp_path_factory.mktemp("disk") / "moved"
    (checkout / ".venv").rename(place)
    (checkout / ".venv").symlink_to(place)
    result = run(checkout, env=no_network(checkout))
    assert result.returncode == 0 and "up to date" in result.stdout, result.stderr


def test_a_link_to_what_is_not_this_checkouts_is_one_sentence_and_nothing_is_removed(
    checkout: Path, tmp_path_factory
) -> None:
    others = tmp_path_factory.mktemp("others")
    (others / "saekit.json").write_text(json.dumps({"root": "/elsewhere/saekit", "complete": True}))
    (others / "pyvenv.cfg").write_text("home = /usr/bin\n")
    home, file = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("file") / "a"
    (home / "thesis.tex").write_text("all of it")
    file.write_text("x")
    said = {others: "the environment of /elsewhere/saekit", home: "other things (thesis.tex)", file: "a file"}
    for target, held in said.items():
        (checkout / ".venv").unlink(missing_ok=True)
        (checkout / ".venv").symlink_to(target)
        result = run(checkout, env=no_network(checkout))
        told = sentence(result)
        assert f".venv is a symbolic link to {target}, where {held} is; remove the link" in told and not result.stdout
    assert (home / "thesis.tex").read_text() == "all of it" and (others / "pyvenv.cfg").is_file()


@pytest.mark.timing
def test_what_is_up_to_date_is_left_alone_in_under_a_second(checkout: Path, ready: dict) -> None:
    seconds = []
    for _ in range(3):  # the machine may be busy: the best of three counts
        began = time.monotonic()
        result = run(checkout, env=no_network(checkout))
        seconds.append(time.monotonic() - began)
        assert result.returncode == 0 and "up to date" in result.stdout, result.stderr
    assert min(seconds) < 1.0


@pytest.mark.parametrize("change", ["lock", "metadata", "unfinished", "torch", "moved", "python gone"])
def test_any_change_is_noticed(checkout: Path, module, ready: dict, change: str) -> None:
    again, arguments = "completing it", []
    if change == "lock":
        (checkout / "requirements.lock").write_text("six==1.17.0\n")
    elif change == "metadata":
        with (checkout / "pyproject.toml").open("a") as file:
            file.write("# a change\n")
    elif change == "unfinished":
        module.write_note({**ready, "complete": False})
    elif change == "torch":
        again, arguments = "a fresh .venv", ["--torch-index", "http://127.0.0.1:1/"]
    elif change == "moved":
        again = "a fresh .venv"
        module.write_note({**ready, "root": "/elsewhere"})
    elif change == "python gone":
        again = "a fresh .venv"
        for path in (checkout / ".venv" / "bin").glob("python*"):
            path.unlink()
    result = run(checkout, *arguments, env=no_network(checkout))
    assert "up to date" not in result.stdout and again in result.stdout


def test_a_choice_of_torch_holds_until_another_is_named(checkout: Path, module, ready: dict) -> None:
    module.write_note({**ready, "torch_index": "https://example.org/cpu"})
    assert "up to date" in run(checkout).stdout
    assert "up to date" in run(checkout, "--torch-index", "https://example.org/cpu").stdout


def test_a_choice_of_torch_that_never_worked_is_forgotten(checkout: Path) -> None:
    environment = no_network(checkout)
    chosen = run(checkout, "--torch-index", "http://127.0.0.1:1/typo", env=environment)
    assert "from http://127.0.0.1:1/typo" in chosen.stdout and chosen.returncode == 1
    plain = run(checkout, env=environment)
    assert "typo" not in plain.stdout and plain.returncode == 1


def test_an_interrupt_ends_pip_too_and_is_no_traceback(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # an index that accepts and never answers
        port = silent.getsockname()[1]
        environment = {**no_network(checkout), "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_TIMEOUT": "60"}
        process = subprocess.Popen(
            [sys.executable, "-I", str(checkout / SCRIPT)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        silent.settimeout(60)
        connection, _ = silent.accept()  # pip is at work now
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130 and err.strip() == "Stopped. The same command goes on from here.", out + err
    note = json.loads((checkout / ".venv" / "saekit.json").read_text())
    assert note["complete"] is False and not (checkout / ".venv" / "tmp").exists()


def make(checkout: Path, *arguments: str, path: Path) -> subprocess.CompletedProcess:
    gnu_make = shutil.which("make")
    if gnu_make is None:
        pytest.skip("make is not installed here")
    environment = {"PATH": str(path), "HOME": str(checkout)}
    return subprocess.run([gnu_make, "-C", checkout, *arguments], capture_output=True, text=True, env=environment)


def executable(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_make_passes_over_shims_that_do_not_work(checkout: Path, ready: dict) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    executable(programs / "python3", "echo 'python3: command not found in this shim' >&2; exit 127")
    executable(programs / "python3.13", "exit 1")
    (programs / "python3.12").symlink_to("/nowhere")
    executable(programs / "python3.11", f'exec {sys.executable} "$@"')
    result = make(checkout, "environment", path=programs)
    assert result.returncode == 0 and "up to date" in result.stdout, result.stderr
    named = make(checkout, "environment", "PYTHON=/nowhere/python3", path=programs)
    assert named.returncode == 0 and "PYTHON=/nowhere/python3 is not a working Python" in named.stderr


def test_make_without_any_python_says_what_to_install(checkout: Path) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    executable(programs / "python3", "exit 1")
    result = make(checkout, "environment", path=programs)
    assert result.returncode != 0 and "error: no working Python 3.11, 3.12 or 3.13 was found; install" in result.stderr


def test_make_lists_its_targets(checkout: Path) -> None:
    listed = make(checkout, path=Path("/usr/bin:/bin")).stdout
    for target in ["demo", "lab", "test", "curriculum", "micro", "card", "lock", "lint", "wheel", "clean"]:
        assert re.search(rf"^  make {target} +\S", listed, flags=re.MULTILINE), target
