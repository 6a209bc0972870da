"""Stage 7: compute-sanitizer on stage 1's smallest shapes (sanitizer.txt), and ncu on single kernels (ncu.csv).

Clocks are left as they are: ncu runs with --clock-control none.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys

from gpu_stages.rows import Run

KERNELS = ("group_maxima", "collect", "select", "decode", "value_gradients", "weighted_rows", "latent_update")
METRICS = {
    "dram__bytes.sum": "DRAM bytes",
    "lts__t_sector_hit_rate.pct": "L2 hits",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy",
}
TOOLS = ("memcheck", "racecheck")


def measure(run: Run) -> None:
    for tool in TOOLS:
        sanitized(run, tool)
    profiled(run)


def stage(run: Run, number: int) -> list[str]:
    """Another stage's command; what it writes stands in a folder of its own."""
    out = run.out / "tools"
    out.mkdir(exist_ok=True)
    given = [
        sys.executable,
        "-m",
        "gpu_stages",
        str(number),
        "--out",
        str(out),
        "--run",
        run.id,
        "--ends",
        str(run.ends),
    ]
    return [*given, "--dry"] if run.dry else given


def ended(command: list[str], run: Run, share: float, **environment: str) -> str | None:
    """What a command said, None where its share of the time was too short."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=max(5.0, share * run.left()),
            env={**os.environ, "SMALLEST": "1", **environment},
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout + done.stderr


def sanitized(run: Run, tool: str) -> None:
    if not shutil.which("compute-sanitizer"):
        run.row(tool, table="tools", found="skipped: compute-sanitizer was not found")
        return
    # without torch's own cache each tensor is an allocation, so that what lies beyond it is seen
    said = ended(["compute-sanitizer", "--tool", tool, *stage(run, 1)], run, 0.4, PYTORCH_NO_CUDA_MEMORY_CACHING="1")
    if said is None:
        run.row(tool, table="tools", found="not ended in its time")
        return
    with (run.out / "sanitizer.txt").open("a", encoding="utf-8") as file:
        file.write(f"## {tool}\n{said}\n")
    summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", said)
    lines = said.strip().splitlines() or ["nothing was said"]
    run.row(tool, table="tools", found=summary[-1] if summary else lines[-1][:120])


def profiled(run: Run) -> None:
    if not shutil.which("ncu"):
        run.row("ncu", table="tools", found="skipped: ncu was not found")
        return
    wanted = "regex:" + "|".join(f"{kernel}_kernel" for kernel in KERNELS)
    command = ["ncu", "--clock-control", "none", "--csv", "--metrics", ",".join(METRICS), "-k", wanted]
    said = ended([*command, "--launch-count", "80", *stage(run, 4)], run, 0.9)
    if said is None:
        run.row("ncu", table="tools", found="not ended in its time")
        return
    (run.out / "ncu.csv").write_text(said, encoding="utf-8")
    for kernel, numbers in of_csv(said).items():
        run.row(kernel, table="ncu", **numbers)


def of_csv(text: str) -> dict[str, dict[str, object]]:
    """The last launch of each kernel: its metrics by name."""
    found: dict[str, dict[str, object]] = {}
    lines = [line for line in text.splitlines() if line.startswith('"')]
    for row in csv.DictReader(lines):
        name = METRICS.get(row.get("Metric Name", ""))
        if name:
            value = f"{row.get('Metric Value', '')} {row.get('Metric Unit', '')}".strip()
            found.setdefault(row.get("Kernel Name", "").partition("(")[0], {})[name] = value
    return found
