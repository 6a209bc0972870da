"""batch_top_k/triton.py and its reference against a sort of the whole batch in Python: the same places, exactly."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels.batch_top_k import reference, triton
from torch import Tensor


def normal(n: int, f: int, seed: int = 0) -> Tensor:
    return torch.randn(n, f, generator=torch.Generator().manual_seed(seed))


def exact(u: Tensor, wanted: int) -> None:
    flat = u.flatten().tolist()
    order = sorted((i for i, value in enumerate(flat) if value > 0), key=lambda i: (-flat[i], i))[:wanted]
    for module in (triton, reference):
        values, places = module.batch_top_k(u, wanted)
        assert places.dtype == torch.int64 and places.tolist() == sorted(order)
        assert values.dtype == u.dtype and torch.equal(values, u.flatten()[places])


@pytest.mark.parametrize(("n", "f", "wanted"), [(1, 1000, 7), (7, 300, 70)])
def test_the_largest_of_the_batch(n, f, wanted):
    exact(normal(n, f), wanted)


@pytest.mark.parametrize("bound", [0.0, 0.5, 2.0, 100.0])
def test_what_is_above_a_bound(bound):
    u = normal(7, 300).mul(2).round().div(2)  # many stand at the bound itself
    for module in (triton, reference):
        values, places = module.above(u, bound)
        assert places.tolist() == [i for i, value in enumerate(u.flatten().tolist()) if value > bound]
        assert torch.equal(values, u.flatten()[places])


def test_a_bound_from_group_maxima_leaves_little_more_than_is_wanted():
    u = normal(8, 1000)
    maxima, bound = triton.group_bound(u, 40)
    width = triton.group_width(8, 1000, 40)
    assert width == 32 and maxima.shape == (8, 32)
    assert torch.equal(maxima[:, :31], u[:, :992].view(8, 31, 32).amax(2).relu())
    values, places = triton.collected(u, bound, maxima, width, False)
    assert 40 <= len(values) <= 60 and torch.equal(values, u.flatten()[places])


def test_ties_go_to_the_lower_places():
    exact(torch.full((3, 100), 0.5), 123)
    exact(normal(5, 90).mul(2).round().div(2), 50)
    exact(normal(5, 90).bfloat16(), 50)


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


def test_infinity_is_kept():
    u = normal(3, 100)
    u[2, 7] = torch.inf
    exact(u, 20)


def test_the_same_bits_twice():
    u = normal(3, 400)
    for one, other in zip(triton.batch_top_k(u, 30), triton.batch_top_k(u, 30), strict=True):
        assert torch.equal(one, other)


def test_rows_in_any_layout():
    u = normal(7, 300)
    assert not u.T.contiguous().T.is_contiguous()
    exact(u.T.contiguous().T, 70)
    exact(torch.cat([u, u], 1)[:, :300], 70)


def test_what_is_refused():
    with pytest.raises(TypeError, match="u is float64"):
        triton.batch_top_k(normal(3, 2).double(), 1)


def test_nan_is_the_largest_and_never_lost():
    u = torch.randn(9, 700, generator=torch.Generator().manual_seed(5))
    u[2, 650], u[7, 3], u[4, 4] = float("nan"), float("nan"), float("inf")
    for wanted in (1, 2, 3, 50, 9 * 700):
        values, places = triton.batch_top_k(u, wanted)
        expected, where = reference.batch_top_k(u, wanted)
        assert torch.equal(places, where) and torch.equal(values.nan_to_num(7.0), expected.nan_to_num(7.0))
    values, places = triton.above(u, 1.5)
    expected, where = reference.above(u, 1.5)
    assert torch.equal(places, where) and int(values.isnan().sum()) == 2
