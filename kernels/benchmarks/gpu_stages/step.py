"""Stage 2, the training step at R1: right first, then milliseconds, GEMM-equivalents, share of the floor, memory.

    floor = 2 N D F / FLOP/s + (2 min(F, N k) D + 26 · 2 F D) / bytes/s         (AuxK counts as nothing)

Then the kernels that it launches, by torch's profiler, into profile.txt, and how often the host waits for the device.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gpu_stages.learners import activations, gradients_differ, learner_for, other_bits, selection, states, stepper
from gpu_stages.rows import Run
from gpu_stages.shapes import DEAD, R1, SMALL, TINY, Shape, named
from gpu_stages.timing import ceilings, median, milliseconds, peak_mib, step_floor, step_times

GRADIENTS = 1e-3  # float32 sums in another order


def measure(run: Run) -> None:
    shape = TINY if run.dry else R1
    wrong = gate(run, shape)
    for dead in DEAD:
        timed(run, shape, dead, wrong)
    if not run.dry:
        timed(run, SMALL, 0.05, wrong)
    profiled(run, shape)


def gate(run: Run, shape: Shape) -> str:
    """What is wrong with the step; its row says how everything was compared."""
    with freed(run.device):
        difference, left_out = gradients_differ(shape, run.device)
    with freed(run.device):
        learner = learner_for(shape, run.device)
        chosen = selection(learner, activations(shape, run.device), shape[3])
        del learner
    with freed(run.device):
        bits = other_bits(shape, run.device, steps=2 if run.dry else 3)
    numbers = {"gradients differ by": difference, "near ties left out": left_out, **chosen}
    run.row("step, right", shape=named(shape), **numbers, **{"same bits": bits or "yes"})
    faults = [] if difference <= GRADIENTS else [f"gradients differ by {difference:.1e}"]
    faults += [] if chosen["selection"] == "right" else [str(chosen["selection"])]
    return "; ".join([*faults, *([bits] if bits else [])])


@contextmanager
def freed(device: str) -> Iterator[None]:
    """Memory of what was made inside is given back."""
    yield
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


def timed(run: Run, shape: Shape, dead: float, wrong: str = "", repeats: int = 20) -> None:
    """A row of the step at a share of dead latents."""
    about = {"shape": named(shape), "case": f"{dead:.0%} dead", "table": "step"}
    if wrong:
        run.row("saekit", **about, wrong=wrong)
        return
    n, d, f, _ = shape
    limits = ceilings(run)
    with freed(run.device):
        x = activations(shape, run.device)
        w = torch.randn(f, d, device=run.device).bfloat16()
        gemm = milliseconds(lambda x: x @ w.T, [x.bfloat16()], run.device)
        del w
        learner = learner_for(shape, run.device)
        step = stepper(learner, x, dead)
        times = step_times(step, run.device, 2 if run.dry else repeats)
        held = sum(state.nbytes for state in states(learner)) / 2**20
        ms, mib, floor = median(times), peak_mib(step, run.device), step_floor(shape, limits)
        spread = f"{min(times):.3g}–{max(times):.3g}"
        numbers = {"ms": ms, "from–to": spread, "GE": ms / gemm, "roof": floor / ms, "floor, ms": floor}
        numbers |= {"tokens/s": n / ms * 1e3, "MiB beside states": mib, "MiB of states": held}
        run.row("saekit", **about, **numbers, **{"the product alone, ms": gemm})
        del learner, step


def profiled(run: Run, shape: Shape, dead: float = 0.05) -> None:
    """The device time of each kernel of a step (profile.txt), their number, and how often the host waits."""
    cuda = run.device != "cpu"
    step = stepper(learner_for(shape, run.device), activations(shape, run.device), dead)
    step()
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * cuda
    with torch.profiler.profile(activities=kinds) as profile:
        step()
        if cuda:
            torch.cuda.synchronize()
    by = "self_device_time_total" if cuda else "self_cpu_time_total"
    text = profile.key_averages().table(sort_by=by, row_limit=80, max_name_column_width=90)
    (run.out / "profile.txt").write_text(text, encoding="utf-8")
    kernels = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events() or [])
    waits = syncs(step) if cuda else None
    run.row("launches", shape=named(shape), case=f"{dead:.0%} dead", kernels=kernels or None, **{"host syncs": waits})


def syncs(step: Callable[[], object]) -> int:
    """How often the host waits for the device in a step."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in said)
