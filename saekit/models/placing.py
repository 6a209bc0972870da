"""What may stand in an activation's place: a value at some tokens, the rest as it arrived."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saekit.models.bridge import Change


def put(value: Float[Tensor, "*shape"], where: Bool[Tensor, "row position"]) -> Change:
    """A replacement for ``forward``: the value at the tokens of a mask, the activation itself elsewhere. The value is
    [row, position, d], or expands to it; where heads come one by one they lie side by side in it."""

    def change(h: Tensor, seen: Mapping[str, Tensor]) -> Tensor:
        there = value.to(h).expand(*h.shape[:2], h.shape[2:].numel()).reshape(h.shape)
        return torch.where(where.to(h.device).view(*where.shape, *[1] * (h.ndim - 2)), there, h)

    return change
