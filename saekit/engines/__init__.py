"""Where work runs: ``mapped`` takes a worker over many items, in this process or on a Ray cluster (``cluster``);
``processes`` is what those know of each other that torchrun starts to train together."""

from __future__ import annotations

from saekit.engines.mapping import ENGINES, check_engine, mapped
from saekit.engines.worker import Item, Worker

__all__ = ["ENGINES", "Item", "Worker", "check_engine", "mapped"]


def __dir__() -> list[str]:
    return [*__all__]
