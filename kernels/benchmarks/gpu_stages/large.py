"""Stage 6: 131,072 latents and a million: whether a training step fits, its peak, and how long it takes."""

from __future__ import annotations

import torch

from gpu_stages.rows import Run
from gpu_stages.shapes import MILLION, TINY, WIDE, Shape, named
from gpu_stages.step import free, timed

DRY_WIDE: Shape = (TINY[0], TINY[1], 2 * TINY[2], TINY[3])


def measure(run: Run) -> None:
    for shape in (DRY_WIDE, TINY) if run.dry else (WIDE, MILLION):
        for dead in (0.0, 0.05):
            row = fitting(run, shape, dead)
            if row:
                run.row("saekit", shape=named(shape), case=f"{dead:.0%} dead", table="large", **row)
                break


def fitting(run: Run, shape: Shape, dead: float) -> dict[str, object]:
    """Writes the step's row; where memory does not do, what was asked for when it ended."""
    try:
        timed(run, shape, dead, repeats=5)
    except torch.OutOfMemoryError as error:
        said = str(error).splitlines()[0]
        held = torch.cuda.max_memory_allocated() / 2**30
    else:
        return {}
    with free(run):
        pass
    return {"wrong": f"does not fit: {said[:120]}", "GiB held at most": held}
