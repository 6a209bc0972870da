"""top_k/triton.py against a stable sort of every row: the same values and the same indices, exactly."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels.top_k import triton as kernels
from saekit_kernels.top_k.triton import top_k_rows, top_k_sorted
from torch import Tensor


def normal(n: int, f: int, seed: int = 0) -> Tensor:
    return torch.randn(n, f, generator=torch.Generator().manual_seed(seed))


def slow(row: list[float], k: int) -> list[int]:
    """Indices of the k largest, ties to the lower index, in order."""
    return sorted(sorted(range(len(row)), key=lambda i: (-row[i], i))[:k])


def exact(u: Tensor, k: int) -> None:
    values, indices = top_k_rows(u, k)
    assert values.dtype == u.dtype and indices.dtype == torch.int32 and values.shape == indices.shape == (len(u), k)
    assert indices.tolist() == [slow(row, k) for row in u.tolist()]
    assert torch.equal(values, u.gather(1, indices.long()))
    again = top_k_rows(u, k)
    assert torch.equal(values, again[0]) and torch.equal(indices, again[1])


@pytest.mark.parametrize(("n", "f", "k"), [(1, 1000, 1), (6, 1000, 7), (3, 1000, 32), (3, 4100, 13), (3, 50, 50)])
def test_the_k_largest_in_order(n, f, k):
    exact(normal(n, f), k)


def test_random_rows_leave_few_candidates_and_equal_ones_too_many():
    assert kernels.group_width(4100, 13) == 64
    keys, _, counts = kernels.candidates(torch.cat([normal(8, 4100), torch.ones(1, 4100)]), 13)
    assert bool((counts[:8] >= 13).all()) and bool((counts[:8] <= keys.shape[1]).all())
    assert int(counts[8]) == 4100 > keys.shape[1]  # this row is bisected as a whole


@pytest.mark.parametrize("k", [1, 7, 32])
def test_equal_numbers_and_ties_take_the_lower_index(k):
    equal = torch.full((1, 300), 0.5)  # more candidates than fit: the row itself is bisected
    steps = normal(2, 300).mul(2).round().div(2)
    zeros = torch.zeros(1, 300)
    zeros[0, ::2] = -0.0  # equal to 0
    exact(torch.cat([equal, -equal, steps, zeros]), k)


def test_few_positives_among_zeros_and_rows_of_one_sign():
    rectified = (normal(2, 700) - 2.2).relu()
    exact(torch.cat([rectified, -normal(1, 700).abs(), -normal(1, 700).abs() - 1e30, normal(1, 700).abs()]), 20)


def test_infinities_and_the_smallest_numbers():
    u = normal(6, 90)
    u[0], u[1, 3:] = -torch.inf, -torch.inf
    u[2, 40:] = torch.inf
    u[3], u[4] = torch.linspace(-1e-45, 1e-44, 90), 3e38 * torch.linspace(-1, 1, 90)
    exact(u, 7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_many_ties(dtype):
    exact(normal(6, 1000).to(dtype), 32)


@pytest.mark.parametrize("equal", [False, True])
def test_nan_is_the_largest_and_nothing_is_written_out_of_bounds(equal):
    u = torch.ones(3, 200) if equal else normal(3, 200)
    u[0, 5], u[0, 17] = torch.nan, torch.tensor([-1], dtype=torch.int32).view(torch.float32)[0]  # NaN of either sign
    u[1] = torch.nan
    values, indices = top_k_rows(u, 7)
    assert {5, 17} <= set(indices[0].tolist()) and bool(values[0].isnan().sum() == 2)
    assert indices[1].tolist() == list(range(7)) and bool(values[1].isnan().all())
    assert indices[2].tolist() == slow(u[2].tolist(), 7)


def test_k_beyond_the_kernels_is_sorted_by_torch(monkeypatch):
    monkeypatch.setattr(kernels, "MOST_K", 5)
    exact(normal(3, 40).mul(2).round(), 6)


def test_the_sort_agrees_with_the_oracle():
    u = normal(4, 60).mul(2).round()
    assert top_k_sorted(u, 9)[1].tolist() == [slow(row, 9) for row in u.tolist()]


def test_no_rows_and_what_is_refused():
    assert top_k_rows(torch.zeros(0, 20), 3)[0].shape == (0, 3)
    with pytest.raises(ValueError, match="k must be between 1 and the 20 latents there are, found 21"):
        top_k_rows(torch.zeros(2, 20), 21)


def test_rows_in_any_layout():
    u = normal(4, 60)
    for other in (u.T.contiguous().T, torch.cat([u, u], 1)[:, :60]):
        assert not other.is_contiguous()
        assert all(torch.equal(*pair) for pair in zip(top_k_rows(other, 5), top_k_rows(u, 5), strict=True))
