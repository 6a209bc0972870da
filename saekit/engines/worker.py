"""What an engine runs: a worker, and the items it takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Item = dict[str, Tensor]


class Worker(Protocol):
    """What is done with each item: tensors by name in, tensors by name out."""

    def __call__(self, item: Item) -> Item:
        """What it makes of one item."""

    def elsewhere(self) -> Callable[[], Worker]:
        """What makes an equal worker in another process. Raises ValueError where none can be made there."""
