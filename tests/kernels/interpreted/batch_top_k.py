"""batch_top_k/triton.py and its reference against a sort of the whole batch in Python: the same places, exactly."""

from __future__ import annotations

import math

import pytest
import torch
from saekit_kernels.batch_top_k import reference, triton
from torch import Tensor


def normal(n: int, f: int, seed: int = 0) -> Tensor:
    return torch.randn(n, f, generator=torch.Generator().manual_seed(seed))


def exact(u: Tensor, wanted: int, lower_bound: float = 0.0) -> None:
    flat = u.flatten().tolist()
    order = sorted((i for i, value in enumerate(flat) if value > 0), key=lambda i: (-flat[i], i))[:wanted]
    smallest = min((flat[i] for i in order), default=math.inf)
    for batch_threshold in (triton.batch_threshold, reference.batch_threshold):
        threshold, places = batch_threshold(u, wanted, lower_bound)
        assert places.dtype == torch.int64 and places.tolist() == sorted(order)
        assert threshold.dtype == torch.float32 and threshold.shape == () and float(threshold) == smallest


@pytest.mark.parametrize("lower_bound", [0.0, -math.inf, 1.0, 2.0, 100.0])  # the last two let too few pass
@pytest.mark.parametrize(("n", "f", "wanted"), [(1, 1000, 7), (7, 300, 70)])
def test_the_largest_of_the_batch(n, f, wanted, lower_bound):
    exact(normal(n, f), wanted, lower_bound)


def test_a_bound_from_group_maxima_leaves_little_more_than_is_wanted():
    u = normal(8, 1000)
    maxima, bound = triton.group_bound(u, 40)
    width = triton.group_width(8, 1000, 40)
    assert width == 32 and maxima.shape == (8, 32)
    assert torch.equal(maxima[:, :31], u[:, :992].view(8, 31, 32).amax(2).relu())
    values, places = triton.collected(u, bound, maxima, width)
    assert 40 <= len(values) <= 60 and torch.equal(values, u.flatten()[places])


@pytest.mark.parametrize("lower_bound", [0.0, 0.25])
def test_ties_go_to_the_lower_places(lower_bound):
    exact(torch.full((3, 100), 0.5), 123, lower_bound)
    exact(normal(5, 90).mul(2).round().div(2), 50, lower_bound)
    exact(normal(5, 90).bfloat16(), 50, lower_bound)


def test_fewer_positives_than_wanted_are_all_kept():
    u = (normal(4, 300) - 2).relu()
    positives = int((u > 0).sum())
    assert positives < 40
    for wanted in (positives - 1, positives, positives + 1, 2000):
        exact(u, wanted)
    exact(-normal(2, 50).abs(), 5)
    exact(torch.zeros(2, 50), 5)
    exact(torch.zeros(0, 50), 5)


def test_rows_without_an_entry_and_one_row_with_all():
    u = -normal(6, 200).abs()
    u[3] = normal(1, 200).abs()
    exact(u, 60)


def test_nan_is_not_kept_and_infinity_is():
    u = normal(3, 100)
    u[1, :50] = torch.nan
    u[2, 7] = torch.inf
    exact(u, 20)
    exact(torch.full((2, 60), torch.nan), 20)


def test_the_same_bits_twice():
    u = normal(3, 400)
    for one, other in zip(triton.batch_threshold(u, 30, 0.5), triton.batch_threshold(u, 30, 0.5), strict=True):
        assert torch.equal(one, other)


def test_what_is_refused():
    for batch_threshold in (triton.batch_threshold, reference.batch_threshold):
        with pytest.raises(ValueError, match="wanted must be 1 or more entries of the batch, found 0"):
            batch_threshold(normal(2, 3), 0)
    with pytest.raises(ValueError, match="u of shape"):
        triton.batch_threshold(normal(3, 2).T, 1)
