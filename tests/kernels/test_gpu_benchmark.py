"""kernels/benchmarks/gpu.py on a CPU: stages end by themselves or are ended, and what was known stays readable."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "kernels" / "benchmarks" / "gpu.py"
MOST = 8000


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    specification = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    assert specification and specification.loader
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    return script


def run(out: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As whoever has a GPU runs it: from elsewhere, nothing on the path."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TRITON_INTERPRET")}
    command = [sys.executable, str(SCRIPT), "--out", str(out), "--dry", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent, env=clean | environment)


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "gpu.jsonl").read_text(encoding="utf-8").splitlines()]


def table_of(said: str) -> str:
    return said.partition("\nA dry run")[2]


def test_ctrl_c_ends_the_stage_and_leaves_the_table(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.subprocess.Popen, "wait", _interrupted(gpu.subprocess.Popen.wait))
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--out", str(tmp_path), "--stages", "0,7", "--dry"])
    assert ended.value.code == 130
    assert [row["outcome"] for row in rows(tmp_path)] == ["stopped by Ctrl-C"]
    assert "stopped by Ctrl-C" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def _interrupted(wait):
    def first(process, timeout=None):
        if timeout is not None:
            raise KeyboardInterrupt
        return wait(process)

    return first


def test_a_stage_writes_rows_and_a_table_from_anywhere(tmp_path):
    done = run(tmp_path / "out", "--stages", "0,7")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "out")
    assert {row["row"] for row in found} >= {"machine", "ceilings", "torch.topk", "ncu", "stage"}
    assert [row["outcome"] for row in found if row["row"] == "stage"] == ["done", "done"]
    table = table_of(done.stdout)
    assert "0 the machine and its ceilings: done" in table and "2 the training step: not run" in table
    assert len(table) < MOST and "| x W_encᵀ by addmm |" in table
    assert "## The training step" in (tmp_path / "out" / "gpu.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_stage_runs_on_a_cpu(tmp_path):
    pytest.importorskip("triton", reason="triton exists for Linux alone")
    done = run(tmp_path / "out", "--budget", "570", "--limit", "200", "--stages", "0,1,2,3,4,5,6,7")
    found = rows(tmp_path / "out")
    assert [row["outcome"] for row in found if row["row"] == "stage"] == ["done"] * 8, done.stdout[-4000:]
    assert not [row for row in found if row.get("wrong") and row["stage"] != 3]
    peers = [row.get("wrong", "") for row in found if row["stage"] == 3 and row.get("table") == "step"]
    assert len(peers) == 3 and all(not wrong or wrong.startswith("not measured: ModuleNotFound") for wrong in peers)
    table = table_of(done.stdout)
    assert len(table) < MOST and table.index("## step") < table.index("## small shapes")
    step = next(row for row in found if row["row"] == "step, right")
    assert step["selection"] == "right" and step["recall"] == 1.0 and step["same bits"] == "yes"


HANGING = """
import subprocess, sys, time
from pathlib import Path
from gpu_stages.rows import FILE, Run
run = Run(Path({out!r}), "a", 2, time.monotonic() + 99, "cpu", True)
run.row("saekit", shape="1, 2, 3, 4", case="0% dead", ms=1.5)
with (run.out / FILE).open("a") as file:
    file.write('{{"run": "a", "stage": 2, "ro')
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path({out!r}, "child").write_text(str(child.pid))
time.sleep(600)
"""


def test_a_stage_killed_by_its_limit_leaves_valid_rows_and_a_valid_table(gpu, tmp_path):
    from gpu_stages import rows as written
    from gpu_stages.table import markdown, short

    command = [sys.executable, "-c", HANGING.format(out=str(tmp_path))]
    began = time.monotonic()
    process_environment = gpu.environment(dry=True, interpreted=False)
    while not (tmp_path / "child").is_file():  # on a busy machine it may not have come so far
        limit = 2.0 + time.monotonic() - began
        assert gpu.supervised(command, limit, process_environment) == f"killed at its limit of {limit:.0f} s"
    child = Path("/proc") / (tmp_path / "child").read_text()
    if Path("/proc").is_dir():
        until = time.monotonic() + 20
        while child.is_dir() and "Z (" not in _state(child) and time.monotonic() < until:
            time.sleep(0.05)
        assert not child.is_dir() or "zombie" in _state(child), "what the stage had started is still running"
    after = {"run": "a", "stage": 2, "row": "stage", "shape": "", "case": "", "outcome": "killed", "seconds": 2.0}
    written.append(tmp_path, {**after, "dry": True})
    assert [row["row"] for row in written.newest(tmp_path)] == ["saekit", "stage"]
    for text in (markdown(tmp_path), short(tmp_path)):
        assert "killed in 2.0 s" in text and "| saekit | 1, 2, 3, 4 | 0% dead | 1.5 |" in text


def _state(process: Path) -> str:
    try:
        return next(line for line in (process / "status").read_text().splitlines() if line.startswith("State"))
    except OSError:
        return "gone: zombie"


def test_how_a_stage_ended_is_said(gpu):
    environment = gpu.environment(dry=True, interpreted=True)
    assert environment["TRITON_INTERPRET"] == "1"
    ends = {"pass": "done", "import sys; sys.exit(3)": "ended with 3", "import os; os.kill(os.getpid(), 11)": "SIGSEGV"}
    for code, outcome in ends.items():
        assert outcome in gpu.supervised([sys.executable, "-c", code], 60, environment)


def test_a_stage_that_does_not_fit_is_named_with_the_reason(gpu, tmp_path, capsys):
    gpu.run_stages([2], tmp_path, budget=3.0, dry=True)
    assert rows(tmp_path)[0]["outcome"] == "skipped: 1 s were left, and it takes about 4"
    assert "skipped: 1 s were left" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_the_newest_row_about_a_thing_counts_and_dry_ones_are_not_mixed_in(gpu, tmp_path):
    from gpu_stages.rows import append, newest

    about = {"stage": 2, "row": "saekit", "shape": "s", "case": "5% dead"}
    for number, dry in enumerate([True, False, False]):
        append(tmp_path, {"run": str(number), **about, "ms": float(number), **({"dry": True} if dry else {})})
    assert [row["ms"] for row in newest(tmp_path)] == [2.0]


def test_the_short_table_is_short_and_begins_with_the_step(gpu, tmp_path):
    from gpu_stages.rows import append
    from gpu_stages.table import short

    for number in range(300):
        stage = 4 if number else 2
        append(tmp_path, {"run": "a", "stage": stage, "row": f"r{number}", "shape": "s" * 20, "case": "", "ms": 1.0})
    text = short(tmp_path)
    assert len(text) < MOST and "the rest stands in" in text
    assert text.index("| r0 |") < text.index("| r1 |") and "7 compute-sanitizer and ncu: not run" in text


def test_a_step_is_set_beside_the_fastest_of_the_others(gpu, tmp_path):
    from gpu_stages.rows import append
    from gpu_stages.table import markdown, short

    about = {"run": "a", "shape": "8, 2", "case": "5% dead", "table": "step"}
    for stage, name, ms, mib in [(2, "saekit", 2.0, 50.0), (3, "slow", 9.0, 10.0), (3, "fast", 5.0, 400.0)]:
        append(tmp_path, {**about, "stage": stage, "row": name, "ms": ms, "MiB beside states": mib})
    append(tmp_path, {**about, "stage": 3, "row": "absent", "wrong": "not measured"})
    said = "8, 2: 2.50 × as fast as fast, the fastest of the others, with 0.125 of its memory."
    assert said in short(tmp_path) and said in markdown(tmp_path)


def test_without_triton_the_stages_that_name_its_kernels_are_skipped(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    gpu.run_stages([1, 4], tmp_path, budget=100.0, dry=True)
    assert [row["outcome"] for row in rows(tmp_path)] == ["skipped: Triton is not installed"] * 2


def test_slips_are_answered_by_a_sentence(gpu, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        gpu.main(["--out", str(tmp_path), "--stages", "0,9", "--dry"])
    assert "--stages has some of 0,1,2,3,4,5,6,7, found '9'." in capsys.readouterr().err
    monkeypatch.setattr(gpu, "_cuda", lambda: False)
    with pytest.raises(SystemExit, match="only where torch finds a CUDA device"):
        gpu.main(["--out", str(tmp_path)])


def test_empty_modules_stand_in_for_what_a_peer_never_calls(gpu, monkeypatch):
    from peers_site import EmptyModules

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, EmptyModules()])
    for name in [name for name in sys.modules if name.partition(".")[0] in ("nnsight", "wandb")]:
        monkeypatch.delitem(sys.modules, name)
    if importlib.util.find_spec("nnsight").origin is not None:
        pytest.skip("nnsight is installed")
    from nnsight.intervention import Envoy  # type: ignore[import-not-found]

    assert issubclass(type("Own", (Envoy,), {}), Envoy) and Envoy.anything("x") is not None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("a_library_of_another_name")
    for name in [name for name in sys.modules if name.partition(".")[0] == "nnsight"]:
        monkeypatch.delitem(sys.modules, name)
