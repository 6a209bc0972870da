"""NaN and infinite activations, found where they first appear."""

from __future__ import annotations

import torch
from torch import Tensor


def check_finite(h: Tensor, site: str, batch: int) -> None:
    """Raise ValueError naming the batch when an activation is NaN or infinite."""
    if not bool(torch.isfinite(h).all()):
        kind = "NaN" if bool(torch.isnan(h).any()) else "infinite"
        raise ValueError(
            f"{kind} activations at {site!r} in batch {batch}: check the model's dtype (float16 overflows; bfloat16 or "
            f"float32 do not) and its weights."
        )
