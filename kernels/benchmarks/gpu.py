"""The engine on a GPU: what is right, how long a training step takes and how near that is to the limit, in stages.

    python kernels/benchmarks/gpu.py --out OUT [--budget SECONDS] [--stages 0,1,2] [--dry]

It needs torch and Triton, no network and nothing installed: it finds the repository's packages by itself. Each stage is
a process with a time limit, so a hang or an illegal address costs that stage alone. OUT/gpu.jsonl has a row for each
thing that is known, OUT/gpu.md is written anew after each stage, and the last thing printed is a short table, the step
first. A stage that is run again appends; the newest rows count.

--dry runs every stage on a CPU at tiny shapes (1 and 4 in Triton's interpreter, the others on the CPU path): it proves
the script, not the speed.
--count prints how many launches a training step is, and where the host waits; no GPU is needed.
--fetch-peers FOLDER makes, where there is a network, the folder that PEERS=FOLDER names in stage 3.

roof: the least time that the products and the memory traffic can take on this card, by the speed of an 8192³ bfloat16
      product and of a copy in the same run, over the time that it took. 1 is the limit. What counts as least is in
      `gpu_stages/timing.py` (a step) and `gpu_stages/operations.py`.
GE:   the time in GEMM-equivalents, over the time of x W_encᵀ (bfloat16, torch) at the same shape.
A time is given only where the result was right (`gpu_stages/gates.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = [ROOT, ROOT / "kernels", ROOT / "widgets", HERE]
sys.path[:0] = [str(folder) for folder in PACKAGES]

from gpu_stages import STAGES  # noqa: E402
from gpu_stages.rows import Row, append  # noqa: E402
from gpu_stages.table import markdown, short  # noqa: E402

BUDGET = 600.0
DRY_SECONDS = 4.0  # a stage of a dry run takes about as long
STOPPED = "stopped by Ctrl-C"
SPARE = 2.0  # seconds kept back for the table


def supervised(command: Sequence[str], limit: float, environment: dict[str, str]) -> str:
    """Run a command and whatever it starts for `limit` seconds at most, and say how it ended: "done", or what not."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"killed at its limit of {limit:.0f} s"
    except KeyboardInterrupt:
        return STOPPED
    finally:
        _end(process)
    return "done" if code == 0 else f"ended with {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its children too: a peer or a profiler may be holding the card."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(dry: bool, interpreted: bool) -> dict[str, str]:
    """What a stage's process gets: the repository's packages; in a dry run one thread and perhaps the interpreter."""
    path = [str(folder) for folder in PACKAGES] + [p for p in (os.environ.get("PYTHONPATH"),) if p]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
    found |= {"OMP_NUM_THREADS": "1"} if dry else {}
    return found | ({"SAEKIT_KERNELS": "interpret", "TRITON_INTERPRET": "1"} if dry and interpreted else {})


def run_stages(numbers: Sequence[int], out: Path, budget: float, dry: bool, limit: float | None = None) -> bool:
    """Each stage in turn, as long as the budget lasts; rows and gpu.md after each. Whether Ctrl-C did not end them."""
    ends = time.monotonic() + budget
    run = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    for number in numbers:
        stage, left = STAGES[number], ends - time.monotonic() - SPARE
        wanted = DRY_SECONDS if dry else stage.seconds
        most = min(left, limit or (60.0 if dry else 2 * stage.seconds))
        print(f"\n## {number}: {stage.name} (at most {max(most, 0):.0f} s of the {max(left, 0):.0f} left)", flush=True)
        began = time.monotonic()
        if left < wanted:
            outcome = f"skipped: {max(left, 0):.0f} s were left, and it takes about {wanted:.0f}"
        elif stage.kernels and importlib.util.find_spec("triton") is None:
            outcome = "skipped: Triton is not installed"
        else:
            given = {"--out": out, "--run": run, "--ends": f"{began + most:.1f}"}
            command = [
                sys.executable,
                "-m",
                "gpu_stages",
                str(number),
                *(str(x) for pair in given.items() for x in pair),
            ]
            outcome = supervised([*command, *["--dry"] * dry], most, environment(dry, stage.kernels))
        print(outcome, flush=True)
        row: Row = {"run": run, "stage": number, "row": "stage", "shape": "", "case": "", "outcome": outcome}
        row |= {"seconds": round(time.monotonic() - began, 1), **({"dry": True} if dry else {})}
        append(out, row)
        (out / "gpu.md").write_text(markdown(out), encoding="utf-8")
        if outcome == STOPPED:
            return False
    return True


def main(given: Sequence[str] | None = None) -> None:
    numbers = ",".join(map(str, STAGES))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="the folder for gpu.jsonl, gpu.md and what the tools save")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for all stages")
    parser.add_argument("--stages", default=numbers, help=f"some of {numbers}")
    parser.add_argument("--limit", type=float, help="seconds that a stage may take; else twice what is expected")
    parser.add_argument("--dry", action="store_true", help="on a CPU, at tiny shapes")
    parser.add_argument("--fetch-peers", type=Path, metavar="FOLDER", help="install the other libraries there and end")
    parser.add_argument("--for-python", help="of the machine with the GPU, as 3.12; else this one's")
    parser.add_argument("--count", action="store_true", help="print what a step would launch on a GPU, and end")
    options = parser.parse_args(given)
    if options.count:
        from gpu_stages import launches

        print(launches.report())
        return
    if options.fetch_peers:
        from peers_site import fetch

        fetch(options.fetch_peers, options.for_python)
        return
    if options.out is None:
        parser.error("--out names the folder for the results.")
    chosen = [part.strip() for part in options.stages.split(",")]
    if wrong := [part for part in chosen if part not in numbers.split(",")]:
        parser.error(f"--stages has some of {numbers}, found {wrong[0]!r}.")
    if not options.dry and not _cuda():
        sys.exit("The kernels can be timed only where torch finds a CUDA device, and here it finds none: see --dry.")
    options.out.mkdir(parents=True, exist_ok=True)
    ended = run_stages([int(part) for part in chosen], options.out, options.budget, options.dry, options.limit)
    print("\n" + short(options.out), flush=True)
    if not ended:
        sys.exit(130)


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
