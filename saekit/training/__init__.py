"""Training: one loop for every dictionary."""

from __future__ import annotations

from saekit.training.callbacks import TensorBoard, WeightsAndBiases
from saekit.training.loop import train
from saekit.training.memory import MemoryNeeded, memory_needed
from saekit.training.run import Progress, Run
from saekit.training.settings import default_rate

__all__ = [
    "MemoryNeeded",
    "Progress",
    "Run",
    "TensorBoard",
    "WeightsAndBiases",
    "default_rate",
    "memory_needed",
    "train",
]


def __getattr__(name: str) -> object:
    if name in ("objective", "OBJECTIVES"):
        raise ImportError(
            "objectives by name are gone: give the dictionary that your method builds a loss(batch, state) of its own, "
            "made of the terms in saekit.objectives."
        )
    if name == "Loss":
        raise ImportError("Loss is in saekit.objectives now: from saekit.objectives import Loss.")
    raise AttributeError(f"module 'saekit.training' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
