"""Where else a run's numbers may go: TensorBoard, Weights & Biases. Neither is needed or installed by saekit.

sk.train(…, callback=TensorBoard("runs/first/board"))
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from saekit.files.paths import resolved
from saekit.training.run import Progress


class TensorBoard:
    """Writes a run's numbers into a folder that `tensorboard --logdir` shows; the step is the number of tokens.

    Raises ModuleNotFoundError where tensorboard is not installed."""

    def __init__(self, folder: str | Path) -> None:
        module = _found("torch.utils.tensorboard", "TensorBoard", "tensorboard")
        self.writer = module.SummaryWriter(str(resolved(folder)))

    def __call__(self, progress: Progress) -> None:
        """Write the numbers of a measured step, and close the file after the last one."""
        for name, value in progress.logged.items():
            self.writer.add_scalar(name, value, progress.tokens)
        self.writer.flush()
        if progress.finished:
            self.writer.close()


class WeightsAndBiases:
    """Sends a run's numbers to Weights & Biases with the tokens beside them; takes what wandb.init takes.

    Raises ModuleNotFoundError where wandb is not installed."""

    def __init__(self, **init: Any) -> None:
        self.run = _found("wandb", "WeightsAndBiases", "wandb").init(**init)

    def __call__(self, progress: Progress) -> None:
        """Send the numbers of a measured step, and end the run after the last one."""
        self.run.log({"tokens": progress.tokens, **progress.logged})
        if progress.finished:
            self.run.finish()


def _found(module: str, who: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(f"{who} needs {package}: pip install {package}.") from error
