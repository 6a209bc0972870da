"""Where activations lie in memory: on the GPU that trains where they fit, in one piece that is filled as they come."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

ROOM = 16  # by one such part more than is asked for room is made: the last documents go past the end of a chunk
FREE = 2  # activations take one such part of a GPU's free memory at most


def place_of(size: int, device: torch.device) -> torch.device:
    """Where ``size`` bytes of activations lie: on the GPU that trains, where they take at most half of its free memory;
    else on the CPU. No number hangs on it."""
    if device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] // FREE:
        return device
    return torch.device("cpu")


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A batch that was gathered on the CPU, on the GPU that trains: through pinned memory, and nobody waits for it."""
    if device.type != "cuda" or x.is_cuda:
        return x
    return x.pin_memory().to(device, non_blocking=True)


class Columns:
    """Tensors by name that grow by rows together, in memory that is made once: nothing is joined in the end."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.room, self.device = rows + rows // ROOM, device
        self.rows = 0
        self._made: dict[str, Tensor] = {}

    def add(self, piece: Mapping[str, Tensor]) -> None:
        """Rows more of each column."""
        if not piece:
            return
        end = self.rows + len(next(iter(piece.values())))
        if end > self.room:
            self.room = end + end // ROOM
        for name, x in piece.items():
            made = self._made.get(name)
            if made is None or len(made) < self.room:
                larger = torch.empty(self.room, *x.shape[1:], dtype=x.dtype, device=self.device)
                if made is not None:
                    larger[: self.rows] = made[: self.rows]
                self._made[name] = made = larger
            made[self.rows : end] = x
        self.rows = end

    def filled(self) -> dict[str, Tensor]:
        """Each column as far as it is filled."""
        return {name: made[: self.rows] for name, made in self._made.items()}
