"""What the interpreted checks share: random codes, a distance, and poison in every torch.empty.

This folder is run by tests/kernels/test_triton.py in a process of its own; no file here is a test of the main session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

ODD = -12_345  # what an unwritten integer holds: no index, no count


class Codes(NamedTuple):
    """Signed codes in compressed rows, some rows empty, some latents unused."""

    values: Tensor
    indices: Tensor
    offsets: Tensor
    dense: Tensor  # [n, d_sae] float64: the oracle's view of the same codes


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.empty gives NaN (integers: ODD), so that whatever a kernel leaves unwritten is seen."""
    empty = torch.empty

    def poisoned(*arguments, **settings) -> Tensor:
        made = empty(*arguments, **settings)
        return made.fill_(float("nan") if made.is_floating_point() else 255 if made.dtype == torch.uint8 else ODD)

    monkeypatch.setattr(torch, "empty", poisoned)


@pytest.fixture
def random_codes() -> Callable[..., Codes]:
    """random_codes(n, d_sae, l0, hot=None, dtype=torch.float32, seed=0); `hot` is a latent of every row."""

    def make(n: int, d_sae: int, l0: float, hot: int | None = None, dtype=torch.float32, seed: int = 0) -> Codes:
        generator = torch.Generator().manual_seed(seed)
        on = torch.rand(n, d_sae, generator=generator) < l0 / d_sae
        on[::5] = False  # empty rows
        on[:, ::3] = False  # unused latents
        if hot is not None:
            on[:, hot] = True
        rows, latents = on.nonzero(as_tuple=True)
        values = torch.randn(len(rows), generator=generator).to(dtype)
        dense = torch.zeros(n, d_sae, dtype=torch.float64)
        dense[rows, latents] = values.double()
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), on.sum(1).cumsum(0)])
        return Codes(values, latents.int(), offsets, dense)

    return make


@pytest.fixture
def close() -> Callable[..., None]:
    """close(found, wanted, tolerance=1e-5): ‖found − wanted‖ ≤ tolerance · ‖wanted‖, and every number is finite."""

    def check(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
        assert found.shape == wanted.shape
        assert bool(found.isfinite().all()), f"{int((~found.isfinite()).sum())} numbers were not written or not finite"
        distance = float((found.double() - wanted.double()).norm())
        assert distance <= tolerance * float(wanted.double().norm()), f"{distance} of {float(wanted.norm())}"

    return check
