"""Stage 4: each operation at each shape, with Zipf and uniform popularity: right first, then timed beside torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch

from gpu_stages.gates import poisoned, repeats_differ
from gpu_stages.inputs import Case, Inputs, draw
from gpu_stages.operations import Operation, operations
from gpu_stages.rows import Row, Run
from gpu_stages.shapes import R1, SMALL, TINIEST, named
from gpu_stages.timing import Ceilings, ceilings, milliseconds, peak_mib

SETS, REPEATS = 3, 3


def measure(run: Run) -> None:
    if os.environ.get("SMALLEST") == "1":
        launched(run)
        return
    limits = ceilings(run)
    for shape in [TINIEST] if run.dry else [R1, SMALL]:
        for zipf in (True, False):
            case = Case(*shape, zipf)
            for row in measured(case, run.device, limits, 1 if run.dry else SETS):
                run.row(row.pop("row"), shape=named(shape), case=case.popularity, table="operations", **row)
            if run.device != "cpu":
                torch.cuda.empty_cache()


def launched(run: Run) -> None:
    """Each operation a few times and no more, for ncu."""
    case = Case(*(TINIEST if run.dry else R1), True)
    inputs = draw(case, 0, run.device)
    for operation in operations(case, run.device):
        for _ in range(REPEATS):
            operation.ours(inputs)


def measured(case: Case, device: str, limits: Ceilings, number: int = SETS) -> Iterator[Row]:
    """A row for each operation: its fault, or its time, roof and memory, and the fastest of torch's own ways."""
    sets = [draw(case, seed, device) for seed in range(number)]
    encoder = torch.randn(case.d_sae, case.d, device=device).bfloat16()
    gemm = milliseconds(lambda i: i.x @ encoder.T, sets, device)
    del encoder
    for operation in operations(case, device):
        wrong = fault(operation, sets[0])
        if wrong:
            yield {"row": operation.name, "wrong": wrong}
            continue
        ms = milliseconds(operation.ours, sets, device)
        row: Row = {"row": operation.name, "ms": ms, "roof": 1e3 * operation.bytes / limits.bandwidth / ms}
        row |= {"GE": ms / gemm, "MiB": peak_mib(lambda own=operation.ours: own(sets[0]), device)}
        yield row | beside(operation.peers, sets, device, ms)


def fault(operation: Operation, inputs: Inputs) -> str:
    """What is wrong: the result with poisoned outputs, or other bits when it is repeated."""
    result = operation.result or operation.ours
    with poisoned():
        found = result(inputs)
        wrong = operation.fault(found, inputs)
        return wrong or repeats_differ([found, *(result(inputs) for _ in range(REPEATS - 1))])


def beside(peers: dict[str, Callable[[Inputs], Any]], sets: list[Inputs], device: str, ms: float) -> Row:
    """The fastest of torch's ways. One that torch refuses is named and costs no more."""
    times: dict[str, float] = {}
    refused = ""
    for name, peer in peers.items():
        try:
            times[name] = milliseconds(peer, sets, device)
        except (RuntimeError, NotImplementedError) as error:
            refused = f"{name} refused: {str(error).splitlines()[0][:60]}"
    if not times:
        return {"torch": refused} if refused else {}
    best = min(times, key=lambda name: times[name])
    mib = peak_mib(lambda: peers[best](sets[0]), device)
    return {"torch, ms": times[best], "torch": best, "speedup": times[best] / ms, "torch, MiB": mib}
