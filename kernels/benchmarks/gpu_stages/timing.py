"""Milliseconds, memory, and the least time that a thing can take on this card.

On a GPU the clock is the device's own events; medians are given, warm-up left out, and inputs take turns so that the
cache is not flattered. On a CPU (a dry run) the numbers only show that everything runs.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from gpu_stages.rows import Run, every


class Ceilings(NamedTuple):
    """FLOP/s of a bfloat16 product of random numbers and bytes/s of a copy, of this card in this run."""

    flops: float
    bandwidth: float


def step_times(step: Callable[[], Any], device: str, repeats: int, warm: int = 3) -> list[float]:
    """Milliseconds of each of `repeats` calls, what the host adds in between included."""
    for _ in range(warm):
        step()
    if device == "cpu":
        return [_on_the_host(step) for _ in range(repeats)]
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    torch.cuda.synchronize()
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in itertools.pairwise(marks)]


def _on_the_host(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def milliseconds(run: Callable[[Any], Any], sets: Sequence[Any], device: str) -> float:
    """The median of an operation over inputs that take turns."""
    turns = itertools.cycle(sets)
    if device == "cpu":
        return _on_the_host(lambda: run(next(turns)))
    from triton.testing import do_bench

    return float(do_bench(lambda: run(next(turns)), warmup=30, rep=120, quantiles=[0.5]))


def peak_mib(run: Callable[[], Any], device: str) -> float | None:
    """The most memory taken beyond what was there before."""
    if device == "cpu":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def ceilings(run: Run) -> Ceilings:
    """Those that this run's stage 0 measured, else measured here."""
    for row in every(run.out):
        if row["run"] == run.id and row["row"] == "ceilings":
            return Ceilings(1e12 * row["bf16 TFLOP/s"], 1e12 * row["copy TB/s"])
    return measured_ceilings(run)


def measured_ceilings(run: Run) -> Ceilings:
    """A product of 8192³ and a copy of 2 GiB, measured and written down."""
    side = 64 if run.dry else 8192
    a, b = (torch.randn(side, side, device=run.device).bfloat16() for _ in range(2))
    flops = 2 * side**3 / milliseconds(lambda pair: pair[0] @ pair[1], [(a, b)], run.device) * 1e3
    long = torch.randn(8 * side * side, device=run.device)
    bandwidth = 2 * long.nbytes / milliseconds(lambda x: x.clone(), [long], run.device) * 1e3
    run.row("ceilings", **{"bf16 TFLOP/s": flops / 1e12, "copy TB/s": bandwidth / 1e12})
    return Ceilings(flops, bandwidth)


def median(times: Sequence[float]) -> float:
    """Of an even number the lower of the two in the middle: a time that was seen."""
    return statistics.median_low(times)


def step_floor(shape: tuple[int, int, int, int], limits: Ceilings) -> float:
    """The least milliseconds of a training step (N, D, F, k): the encoder's product, 2 N D F operations; one reading of
    the bfloat16 decoder rows that are used, min(F, N k) · D · 2 bytes; and Adam, which reads and writes 26 bytes a
    parameter (float32 weight and both moments, and the bfloat16 copy that products use), 2 F D parameters. AuxK counts
    as nothing."""
    n, d, f, k = shape
    product = 2 * n * d * f / limits.flops
    traffic = (2 * min(f, n * k) * d + 26 * 2 * f * d) / limits.bandwidth
    return 1e3 * (product + traffic)
