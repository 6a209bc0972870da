"""Selection by a lower bound is torch.topk's to the last bit, whatever the rows hold, and falls back where it must. In
16 bits it may take others of what equals the k-th largest, of which every second row has some."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saekit_kernels.top_k import cpu, reference
from torch import Tensor

N = 24
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
SPECIAL = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1e-40])


@pytest.fixture(autouse=True)
def small_rows_too(monkeypatch):
    monkeypatch.setattr(cpu, "FEW", 0)


@pytest.fixture
def left(monkeypatch):
    """How many rows each call left to torch.topk."""
    rows, right = [], reference.top_k_rows

    def counted(u: Tensor, k: int) -> tuple[Tensor, Tensor]:
        rows.append(len(u))
        return right(u, k)

    monkeypatch.setattr(cpu.reference, "top_k_rows", counted)
    return rows


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(u: Tensor, k: int) -> None:
    found, expected = cpu.top_k_rows(u, k), reference.top_k_rows(u, k)
    assert found[1].dtype == torch.int32 and found[0].dtype == u.dtype
    if u.dtype.itemsize == 2:
        assert torch.equal(found[0].view(torch.int16), u.gather(1, found[1].long()).view(torch.int16))
        assert bool((found[1].diff(dim=1) > 0).all())
        least = expected[0].amin(1, keepdim=True)  # NaN where one was taken
        tied = (u >= least).sum(1) != k
        largest, others = (part[0].sort(1).values for part in (found, expected))
        torch.testing.assert_close(largest, others, rtol=0, atol=0, equal_nan=True)
        found, expected = ([part[~tied] for part in each] for each in (found, expected))
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[0].view(BITS[u.dtype]), expected[0].view(BITS[u.dtype]))


def slow(row: list[float], k: int) -> list[int]:
    """Places of the k largest, NaN above all, the lower of equals."""
    return sorted(sorted(range(len(row)), key=lambda i: (not math.isnan(row[i]), -row[i], i))[:k])


KINDS = {
    "normal": lambda u: u,
    "ties": lambda u: (3 * u).round(),
    "a tie for the last place, in another group": lambda u: u.index_fill(1, torch.tensor([5, 6]), 2.0),
    "a tie for the last place, in one group": lambda u: u.index_fill(1, torch.tensor([5, 5 + u.shape[1] // 8]), 2.0),
    "constant": lambda u: torch.full_like(u, -1.5),
    "some constant rows": lambda u: torch.where(torch.arange(N)[:, None] % 5 == 0, 0.25, u),
    "one group holds the largest": lambda u: u + 10 * (torch.arange(u.shape[1]) % (u.shape[1] // 8) == 3),
    "neighbours are the largest": lambda u: u + 10 * (torch.arange(u.shape[1]) < u.shape[1] // 8),
    "one NaN": lambda u: u.index_fill(1, torch.tensor([17]), torch.nan),
    "NaN in a few rows": lambda u: torch.where(u > 3, torch.nan, u),
    "all NaN": lambda u: torch.full_like(u, torch.nan),
    "infinite": lambda u: torch.where(u > 1.8, torch.inf, u),
    "one infinite": lambda u: u.index_fill(1, torch.tensor([100]), torch.inf),
    "nearly all −∞": lambda u: torch.where(u < 2.5, -torch.inf, u),
    "all −∞": lambda u: torch.full_like(u, -torch.inf),
    "zeros of both signs": lambda u: torch.where(u > 2, u, 0 * u),
    "denormal": lambda u: u * 1e-42,
    "negative": lambda u: -u.abs(),
}


@pytest.mark.parametrize("k", [1, 2, 7, 16, 32])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", list(BITS))
def test_the_selection_is_torchs(kind, k, dtype):
    u = KINDS[kind](normal(N, 1024)).to(dtype)
    same(u, k)
    same(u.T.contiguous().T, k)
    same(torch.stack([u, u], 2)[::3, :, 1], k)


@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_brute_force(k, dtype):
    """Not against torch.topk: a sort in Python of rows without ties, infinities included."""
    u = normal(N, 512, seed=1).to(dtype)
    u[:, 40], u[::2, 41] = torch.inf, -torch.inf
    values, indices = cpu.top_k_rows(u, k)
    assert indices.tolist() == [slow(row, k) for row in u.double().tolist()]
    assert torch.equal(values, u.gather(1, indices.long()))


@pytest.mark.parametrize("k", [1, 5, 16])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("levels", [1, 8])
def test_of_equals_in_16_bits_the_lowest(k, dtype, levels, left):
    """Against a sort in Python; with eight levels to a number nearly every row has equals."""
    u = ((normal(N, 2048, seed=4) * levels).round() / levels if levels > 1 else normal(N, 2048, seed=4)).to(dtype)
    values, indices = cpu.top_k_rows(u, k)
    assert indices.tolist() == [slow(row, k) for row in u.double().tolist()]
    assert torch.equal(values, u.gather(1, indices.long()))
    assert left == []


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 9),
    d_sae=st.sampled_from([8, 32, 100, 128, 256, 320, 999, 1000]),
    k=st.integers(1, 8),
    special=st.sampled_from([0.0, 0.01, 0.2, 1.0]),
    levels=st.sampled_from([0.5, 4.0, 1e4]),
    dtype=st.sampled_from(list(BITS)),
)
def test_any_rows(seed, n, d_sae, k, special, levels, dtype):
    """Numbers on few or many levels, some of them NaN, ±∞, ±0 or denormal."""
    generator = torch.Generator().manual_seed(seed)
    u = (torch.randn(n, d_sae, generator=generator) * levels).round() / levels
    pick = SPECIAL[torch.randint(len(SPECIAL), (n, d_sae), generator=generator)]
    same(torch.where(torch.rand(n, d_sae, generator=generator) < special, pick, u).to(dtype), k)


def test_random_rows_are_settled_and_the_others_alone_are_left(left):
    u = normal(N, 1024, seed=2)
    cpu.top_k_rows(u, 16)
    assert left == []
    u[3], u[7, 11] = 1.0, torch.nan
    u[9, :17] = 50.0  # sixteen of seventeen
    cpu.top_k_rows(u, 16)
    assert left == [3]
    cpu.top_k_rows(torch.zeros(N, 1024), 16)
    assert left == [3, N], "rows that are all alike go as a whole"


def test_a_crowded_row_is_left(left):
    """All numbers of fifteen groups reach τ, which the sixteenth sets: 241 where 48 are looked at."""
    u = normal(N, 1024, seed=3)
    u.view(N, 16, 64)[5, :, 1:16] = 200 + torch.arange(240.0).view(16, 15)
    u[5, 0] = 100.0
    same(u, 16)
    left.clear()
    cpu.top_k_rows(u, 16)
    assert left == [1]


@pytest.mark.parametrize(("d_sae", "k"), [(1023, 2), (1024, 33), (64, 64), (12, 1)])
def test_where_groups_do_not_pay(d_sae, k, left):
    u = normal(N, d_sae)
    same(u, k)
    assert left[0] == N


def test_few_numbers_go_to_torch_at_once(monkeypatch, left):
    monkeypatch.setattr(cpu, "FEW", N * 1024 + 1)
    cpu.top_k_rows(normal(N, 1024), 4)
    assert left == [N]
    cpu.top_k_rows(normal(N + 1, 1024), 4)
    assert left == [N]


def test_no_rows():
    assert [part.shape for part in cpu.top_k_rows(torch.zeros(0, 1024), 4)] == [(0, 4), (0, 4)]


def test_the_input_is_left_as_it_was():
    u = KINDS["ties"](normal(N, 512))
    before = u.clone()
    cpu.top_k_rows(u, 8)
    assert torch.equal(u, before)
