"""Stage 3: the other libraries' training step at the same shapes, by default and at their best settings.

Each in a process of its own, alone on the card, and ended before the next begins. They come from the folder that PEERS
names (peers_site.py), or are what this Python has installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from gpu_stages.rows import Row, Run
from gpu_stages.shapes import R1, SMALL, TINY, Shape, named
from gpu_stages.timing import median, milliseconds

PEERS = Path(__file__).resolve().parents[1] / "peers.py"
WAYS = {
    "sparsify, TF32": ("sparsify", True),
    "SAELens, autocast, TF32": ("SAELens, autocast", True),
    "dictionary_learning, autocast, TF32": ("dictionary_learning", True),
    "sparsify": ("sparsify", False),
    "SAELens, autocast": ("SAELens, autocast", False),
    "SAELens": ("SAELens", False),
    "dictionary_learning": ("dictionary_learning", False),
}
"""The best settings first: they are what a time is compared with."""
STEPS, WARM = 12, 2
LONGEST = 60.0  # seconds of one peer


def measure(run: Run) -> None:
    for shape in [TINY] if run.dry else [R1, SMALL]:
        gemm = product(shape, run.device)
        for name, (library, best) in list(WAYS.items())[: 3 if run.dry else None]:
            row = timed(library, best, shape, run)
            if "ms" in row:
                row |= {"GE": row["ms"] / gemm, "tokens/s": shape[0] / row["ms"] * 1e3}
            run.row(name, shape=named(shape), case="5% dead", table="step", **row)


def product(shape: Shape, device: str) -> float:
    """Milliseconds of x W_encᵀ; nothing of it is left when a peer begins."""
    n, d, f, _ = shape
    x, w = (torch.randn(rows, d, device=device).bfloat16() for rows in (n, f))
    ms = milliseconds(lambda x: x @ w.T, [x], device)
    del x, w
    if device != "cpu":
        torch.cuda.empty_cache()
    return ms


def timed(library: str, best: bool, shape: Shape, run: Run) -> Row:
    """The median of some steps, or why there is none."""
    count = 3 if run.dry else STEPS
    command = [sys.executable, str(PEERS), library, *map(str, shape), *["best"] * best]
    limit = min((5 if run.dry else 1) * LONGEST, run.left() - 2)
    if limit < 5:
        return {"wrong": "not measured: no time was left"}
    environment = {**os.environ, "DEVICE": run.device, "THREADS": "1" if run.dry else "4", "WANDB_MODE": "disabled"}
    try:
        done = subprocess.run(
            command, input="step\n" * count, capture_output=True, text=True, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"wrong": f"not measured: no {count} steps in {limit:.0f} s"}
    (run.out / "peers.txt").open("a", encoding="utf-8").write(f"## {library} {shape}\n{done.stderr[-4000:]}\n")
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"ms"')][WARM:]
    if not said or done.returncode:
        last = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        return {"wrong": f"not measured: {last[:120]}"}
    row = {"ms": median([each["ms"] for each in said])}
    return row | {name: said[-1][name] for name in said[-1] if name != "ms"}
