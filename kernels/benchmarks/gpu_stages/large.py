"""Stage 6: 131,072 latents and a million: whether a training step fits, its peak, and how long it takes."""

from __future__ import annotations

import torch

from gpu_stages.rows import Run
from gpu_stages.shapes import MILLION, TINY, WIDE, Shape, named
from gpu_stages.step import freed, timed

DRY: tuple[Shape, ...] = tuple((TINY[0], TINY[1], times * TINY[2], TINY[3]) for times in (2, 3))


def measure(run: Run) -> None:
    for shape in DRY if run.dry else (WIDE, MILLION):
        for dead in (0.0, 0.05):
            said = overflow(run, shape, dead)
            if said:
                most = torch.cuda.max_memory_allocated() / 2**30
                found = {"wrong": f"does not fit: {said[:120]}", "GiB held at most": most}
                run.row("saekit", shape=named(shape), case=f"{dead:.0%} dead", table="step", **found)
                break


def overflow(run: Run, shape: Shape, dead: float) -> str:
    """Write the step's row; where memory does not do, what torch says of it. All is given back when this returns."""
    said = ""
    with freed(run.device):
        try:
            timed(run, shape, dead, repeats=5)
        except torch.OutOfMemoryError as error:
            said = str(error).splitlines()[0]
    return said
