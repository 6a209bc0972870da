"""Training: one loop for every dictionary."""

from __future__ import annotations

from saekit.training.callbacks import TensorBoard, WeightsAndBiases
from saekit.training.learner import default_rate
from saekit.training.loop import train
from saekit.training.objectives import OBJECTIVES, Loss, objective
from saekit.training.run import Progress, Run

__all__ = [
    "OBJECTIVES",
    "Loss",
    "Progress",
    "Run",
    "TensorBoard",
    "WeightsAndBiases",
    "default_rate",
    "objective",
    "train",
]
