"""The stages of gpu.py, each run in a process of its own: `python -m gpu_stages NUMBER …`."""

from __future__ import annotations

from typing import NamedTuple


class Stage(NamedTuple):
    """A file here with a function ``measure``, and the seconds it is expected to take on a GPU.

    kernels: it calls the Triton kernels by name, in a dry run in the interpreter; the others take the path that the
    device has, on a CPU the CPU's."""

    name: str
    module: str
    seconds: float
    kernels: bool = False


STAGES = {
    0: Stage("the machine and its ceilings", "machine", 20),
    1: Stage("every kernel at small odd shapes", "small_shapes", 75, True),
    2: Stage("the training step", "step", 70),
    3: Stage("the other libraries' steps", "peer_steps", 110),
    4: Stage("the operations", "operation_rows", 70, True),
    5: Stage("training: the same result, end to end", "training", 40),
    6: Stage("131,072 latents and a million", "large", 45),
    7: Stage("compute-sanitizer and ncu", "tools", 90),
}
