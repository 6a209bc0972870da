"""Sizes that int32 does not count."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import encode_batch_top_k


@pytest.mark.slow
def test_more_pre_activations_than_int32_counts():
    """66,000 tokens × 33,000 latents pass 2³¹; only the last tokens have entries above the bound."""
    x = torch.zeros(66_000, 1)
    x[-2:] = 1.0
    directions = torch.zeros(33_000, 1)
    directions[-3:, 0] = torch.tensor([1.0, 2.0, 3.0])
    codes = encode_batch_top_k(x, directions, torch.zeros(33_000), 4, 0.5)
    assert codes.rows.tolist() == [65_998, 65_998, 65_999, 65_999]
    assert codes.indices.tolist() == [32_998, 32_999] * 2 and codes.values.tolist() == [2, 3, 2, 3]
