"""Stage 5: the same result from the kernels as from plain torch on planted data, and `sk.train` of an array end to end.

share of waiting: 1 − (steps · milliseconds of a step alone) / seconds of the whole call; beside it what the run itself
says of its waiting, where it does.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import torch

import saekit as sk
from gpu_stages.learners import activations, learner_for, stepper
from gpu_stages.rows import Run
from gpu_stages.shapes import Shape, named
from gpu_stages.timing import median, step_times
from saekit.objectives import Batch

SAME: Shape = (2048, 512, 8192, 32)
WHOLE: Shape = (8192, 2304, 16384, 64)
DRY: Shape = (64, 16, 48, 3)
WITHIN = 0.002  # of explained variance


def measure(run: Run) -> None:
    same_result(run, DRY if run.dry else SAME, 6 if run.dry else 300)
    end_to_end(run, DRY if run.dry else WHOLE, 4 if run.dry else 60)


def same_result(run: Run, shape: Shape, steps: int) -> None:
    """Loss, dead and explained variance after some steps of both ways, from the same weights on the same batches."""
    last: dict[str, dict[str, float]] = {}
    for kernels in ("auto", "reference"):
        learner = learner_for(shape, run.device, kernels=kernels)
        for number in range(steps):
            batch = Batch.of(activations(shape, run.device, seed=number))
            measured = learner.update(batch, {"x": 1.0}, number, number == steps - 1)
        last[kernels] = measured or {}
        run.row("training", shape=named(shape), case=f"{kernels}, {steps} steps", **last[kernels])
        del learner
    apart = abs(last["auto"]["explained_variance"] - last["reference"]["explained_variance"])
    found = {"explained variance apart": apart, "within 0.002": apart <= WITHIN}
    run.row("the same result", shape=named(shape), case=f"{steps} steps", **found)


def end_to_end(run: Run, shape: Shape, steps: int) -> None:
    """Tokens a second of the whole call, and how much of it was not steps."""
    n, _, f, k = shape
    learner, x = learner_for(shape, run.device), activations(shape, run.device)
    ms = median(step_times(stepper(learner, x, 0.0), run.device, 2 if run.dry else 10))
    del learner
    array = torch.cat([activations(shape, run.device, seed).cpu() for seed in range(4)])
    array = array.repeat(-(-steps // 4), 1)[: n * steps]
    method = sk.TopK(d_sae=f, k=k)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        try:
            sk.train(
                array,
                None,
                method,
                tokens=n * steps,
                batch_size=n,
                device=run.device,
                callback=lambda _: None,
                out=Path(folder) / "run",
            )
        except ImportError as error:
            run.row("sk.train", shape=named(shape), wrong=f"skipped: {error.name} is not installed")
            return
        seconds = time.perf_counter() - began
        said = own_words(Path(folder))
    numbers = {"tokens/s": n * steps / seconds, "step alone, tokens/s": n / ms * 1e3}
    numbers |= {"share of waiting": max(0.0, 1 - steps * ms / 1e3 / seconds), "seconds": seconds, **said}
    run.row("sk.train", shape=named(shape), case=f"an array, {steps} steps", **numbers)


def own_words(folder: Path) -> dict[str, float]:
    """Tokens/s and waiting as the last lines of metrics.jsonl have them."""
    said: dict[str, float] = {}
    for file in folder.rglob("metrics.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            said |= {f"{key}, as logged": v for key, v in record.items() if "wait" in key or "tokens_per" in key}
    return said
