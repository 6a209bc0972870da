"""How fast are the Triton kernels? Correctness first, then milliseconds beside torch; what it printed last is gpu.md.

    python kernels/benchmarks/gpu.py        on a machine with CUDA: writes gpu.json and gpu.md beside this file

roof: the least time that the memory traffic (or the products) of an operation can take on this card, by the speed of a
      copy and of an 8192³ bfloat16 product measured in the same run, over the time that it took. 1 is the limit.
GE:   the time in GEMM-equivalents, that is over the time of x W_encᵀ (bfloat16, torch) at the same shape.
A time is printed only if the result was right: norm-relative error within the tolerance, recall 1, and the same bits
twice. Baselines are torch's own ways, the fastest of them named. Three sets of inputs take turns; medians are given.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_operations import Inputs, Operation, Shape, draw, operations
from torch import Tensor

FOLDER = Path(__file__).parent
SETS = 3
COLUMNS = ["operation", "n × D × F, k", "popularity", "ms", "torch, ms", "speedup", "roof", "GE", "error", "recall"]
COLUMNS += ["same bits", "MiB", "torch, MiB"]

SHAPES = [
    Shape(n, d, d_sae, k, zipf)
    for n, d, d_sae, k in [(4096, 768, 24576, 32), (8192, 2304, 16384, 64), (8192, 2304, 65536, 64)]
    for zipf in (True, False)
]
SHAPES.append(Shape(8192, 4096, 131072, 64, True))
STEPS = [(4096, 768, 24576, 32), (8192, 2304, 65536, 64)]


def milliseconds(run: Callable[[Inputs], Any], sets: list[Inputs]) -> float:
    """The median; inputs take turns."""
    turns = itertools.cycle(sets)
    if sets[0].x.is_cuda:
        from triton.testing import do_bench

        return float(do_bench(lambda: run(next(turns)), warmup=50, rep=200, quantiles=[0.5]))
    began = time.perf_counter()
    run(next(turns))
    return 1e3 * (time.perf_counter() - began)


def mebibytes(run: Callable[[Inputs], Any], inputs: Inputs) -> float:
    """The most memory taken beyond what was there."""
    if not inputs.x.is_cuda:
        return math.nan
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run(inputs)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def ceilings(device: str, side: int = 8192) -> tuple[float, float]:
    """FLOP/s of a bfloat16 product of random numbers and bytes/s of a copy, on this card."""
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    long = torch.empty(8 * side * side, dtype=torch.float32, device=device).normal_()
    inputs = [Inputs(a, b, long, *[long.new_empty(0)] * 4, None)]
    flops = 2 * side**3 / milliseconds(lambda i: i.x @ i.g, inputs) * 1e3
    return flops, 2 * long.nbytes / milliseconds(lambda i: i.u.clone(), inputs) * 1e3


def tensors(out: Any) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else [] if out is None else [t for part in out for t in tensors(part)]


def same_bits(operation: Operation, inputs: Inputs) -> bool:
    once, twice = tensors(operation.ours(inputs)), tensors(operation.ours(inputs))
    return all(torch.equal(one, other) for one, other in zip(once, twice, strict=True))


def measured(shape: Shape, device: str, flops: float, bandwidth: float) -> Iterator[dict[str, Any]]:
    """One row for each operation at one shape."""
    sets = [draw(shape, seed, device) for seed in range(SETS)]
    encoder = torch.randn(shape.d_sae, shape.d, device=device).bfloat16()
    gemm = milliseconds(lambda i: i.x @ encoder.T, sets)
    del encoder
    for operation in operations(shape, device):
        out = operation.ours(sets[0])
        error = operation.error(out, sets[0])
        recall = operation.recall(out, sets[0]) if operation.recall else None
        same = same_bits(operation, sets[0])
        row = {
            "operation": operation.name,
            "n × D × F, k": str(shape),
            "popularity": "Zipf" if shape.zipf else "uniform",
        }
        row |= {"error": f"{error:.1e}", "recall": "" if recall is None else f"{recall:.6f}"}
        row["same bits"] = "yes" if same else "no"
        if error <= operation.tolerance and recall in (None, 1.0) and same:
            ms = milliseconds(operation.ours, sets)
            floor = 1e3 * max(operation.bytes / bandwidth, operation.flop / flops)
            row |= {"ms": f"{ms:.3f}", "roof": f"{floor / ms:.2f}", "GE": f"{ms / gemm:.3f}"}
            row["MiB"] = f"{mebibytes(operation.ours, sets[0]):.0f}"
            times = {name: milliseconds(peer, sets) for name, peer in operation.peers.items()}
            if times:
                best = min(times, key=lambda name: times[name])
                row |= {"torch, ms": f"{times[best]:.3f} ({best})", "speedup": f"{times[best] / ms:.2f}"}
                row["torch, MiB"] = f"{mebibytes(operation.peers[best], sets[0]):.0f}"
        else:
            row["ms"] = "wrong, so not timed"
        yield row


def training_steps(shapes: list[tuple[int, int, int, int]], device: str) -> list[dict[str, Any]]:
    """Milliseconds of a whole training step with AuxK at 5 % dead, ours and the other libraries', in turns; a library
    that cannot be installed here is named. Gradients are compared with plain torch first."""
    from cpu import same_as_reference, stepper
    from peers import REQUIREMENTS, Peer

    rows = []
    where = torch.device(device)
    for shape in shapes:
        difference = same_as_reference(shape, "auto", where)
        row: dict[str, Any] = {"N, D, F, k": ", ".join(map(str, shape)), "gradients differ by": f"{difference:.1e}"}
        rows.append(row)
        if difference > 1e-3:
            row["saekit, bfloat16"] = "wrong, so not timed"
            continue
        ways: dict[str, Callable[[], Any]] = {
            "saekit, bfloat16": stepper(shape, torch.bfloat16, device=where),
            "saekit, float32": stepper(shape, torch.float32, device=where),
            "saekit, plain torch": stepper(shape, torch.float32, "reference", where),
        }
        seen: dict[str, list[float]] = {}
        for name in REQUIREMENTS:
            try:
                ways[name] = Peer(name, shape, device).step
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                row[name] = f"not measured ({type(error).__name__})"
        for number in range(8):
            for name, way in ways.items():
                began = time.perf_counter()
                ms = way() or 1e3 * (time.perf_counter() - began)
                if number:  # the first ones compile and allocate
                    seen.setdefault(name, []).append(ms)
        row |= {name: f"{statistics.median(each):.2f}" for name, each in seen.items()}
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(str(row.get(column, '')) for column in columns)} |" for row in rows]


def markdown(rows: list[dict[str, Any]], steps: list[dict[str, Any]], machine: str) -> str:
    lines = [
        "# The Triton kernels on a GPU",
        "",
        f"Printed by `gpu.py`, which says what the columns mean. {machine}",
        "",
    ]
    lines += table([dict.fromkeys(COLUMNS, "") | row for row in rows])
    lines += ["", "## A training step, milliseconds", "", *table(steps)]
    return "\n".join(lines) + "\n"


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("The Triton kernels can be timed only where torch finds a CUDA device, and here it finds none.")
    import triton

    flops, bandwidth = ceilings("cuda")
    machine = (
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}; a product runs at"
    )
    machine += f" {flops / 1e12:.0f} TFLOP/s, a copy at {bandwidth / 1e12:.2f} TB/s."
    print(machine)
    rows: list[dict[str, Any]] = []
    for shape in SHAPES:
        for row in measured(shape, "cuda", flops, bandwidth):
            print(*(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)
            rows.append(row)
        torch.cuda.empty_cache()
    steps = training_steps(STEPS, "cuda")
    results = {"machine": machine, "rows": rows, "steps": steps}
    (FOLDER / "gpu.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (FOLDER / "gpu.md").write_text(markdown(rows, steps, machine), encoding="utf-8")


if __name__ == "__main__":
    main()
