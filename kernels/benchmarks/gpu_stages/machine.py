"""Stage 0: which card, driver and versions, and what torch itself reaches at R1's shapes."""

from __future__ import annotations

import platform
import shutil
import subprocess

import torch

from gpu_stages.rows import Run
from gpu_stages.shapes import R1, TINY, named
from gpu_stages.timing import measured_ceilings, milliseconds, peak_mib


def measure(run: Run) -> None:
    run.row("machine", **described(run.device))
    measured_ceilings(run)
    products(run)


def described(device: str) -> dict[str, object]:
    """The card, its driver, and the versions of what runs on it."""
    try:
        import triton

        version = triton.__version__
    except ImportError:
        version = "none"
    found: dict[str, object] = {"python": platform.python_version(), "torch": torch.__version__, "triton": version}
    if device == "cpu":
        return {"device": "cpu", **found}
    card = torch.cuda.get_device_properties(0)
    found |= {"cuda": torch.version.cuda, "multiprocessors": card.multi_processor_count}
    found |= {"GiB": card.total_memory / 2**30, "L2 MiB": getattr(card, "L2_cache_size", 0) / 2**20}
    return {"device": card.name, "driver": driver(), **found}


def driver() -> str:
    """As nvidia-smi says, where it is found."""
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    return said.strip().splitlines()[0] if said.strip() else ""


def products(run: Run) -> None:
    """The encoder's product in the ways that torch has, by rows at a time, and torch.topk of what it gives."""
    n, d, f, k = shape = TINY if run.dry else R1
    x, w = (torch.randn(rows, d, device=run.device).bfloat16() for rows in (n, f))
    bias = torch.randn(f, device=run.device).bfloat16()
    for rows in (n // 4, n // 2, n):
        out, part = torch.empty(rows, f, dtype=torch.bfloat16, device=run.device), x[:rows]
        ways = {
            "mm": lambda part=part, out=out: torch.mm(part, w.T, out=out),
            "mm, add_": lambda part=part, out=out: torch.mm(part, w.T, out=out).add_(bias),
            "addmm": lambda part=part, out=out: torch.addmm(bias, part, w.T, out=out),
        }
        for name, way in ways.items():
            ms = milliseconds(lambda _, way=way: way(), [None], run.device)
            flops = 2 * rows * d * f / ms * 1e-9
            run.row(
                f"x W_encᵀ by {name}",
                shape=named(shape),
                case=f"{rows} rows",
                table="products",
                ms=ms,
                **{"TFLOP/s": flops},
            )
    u = torch.randn(n, f, device=run.device).bfloat16()
    ms = milliseconds(lambda u: u.topk(k, dim=1, sorted=False), [u], run.device)
    mib = peak_mib(lambda: u.topk(k, dim=1, sorted=False), run.device)
    run.row("torch.topk", shape=named(shape), case=f"{n} rows", table="products", ms=ms, MiB=mib)
