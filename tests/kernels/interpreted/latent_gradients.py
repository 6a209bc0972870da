"""latent_index and the unfused sums of latent_gradients/triton.py against dense float64 products."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels.latent_gradients import reference
from saekit_kernels.latent_gradients.triton import latent_sums, weighted_rows
from saekit_kernels.latent_gradients.triton_firings import SEGMENT, heavy_pieces
from saekit_kernels.latent_index import by_latent

SHAPES = [(1, 40, 48, 9.0), (63, 100, 96, 7.0), (31, 30, 200, 3.0)]  # n, d_sae, D, mean L0


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "d_sae", "d", "l0"), SHAPES)
def test_the_index_lists_each_latents_entries_in_order(random_codes, n, d_sae, d, l0):
    codes = random_codes(n, d_sae, l0, hot=2)
    index = by_latent(codes.indices, codes.offsets, d_sae)
    assert index.starts.dtype == torch.int64 and index.rows.dtype == torch.int32 and len(index.starts) == d_sae + 1
    rows = torch.repeat_interleave(torch.arange(n), codes.offsets.diff()).tolist()
    for latent in range(d_sae):
        expected = [entry for entry, i in enumerate(codes.indices.tolist()) if i == latent]
        mine = slice(int(index.starts[latent]), int(index.starts[latent + 1]))
        assert index.entries[mine].tolist() == expected
        assert index.rows[mine].tolist() == [rows[entry] for entry in expected]


@pytest.mark.parametrize(("n", "d_sae", "d", "l0"), SHAPES)
def test_sums_over_the_firings(random_codes, close, n, d_sae, d, l0):
    codes = random_codes(n, d_sae, l0, hot=2)
    index, x = by_latent(codes.indices, codes.offsets, d_sae), normal(n, d)
    found = weighted_rows(index, codes.values, x)
    close(found, codes.dense.T @ x.double())
    close(reference.weighted_rows(index, codes.values, x), codes.dense.T @ x.double())
    close(latent_sums(index, codes.values), codes.dense.sum(0))
    close(reference.latent_sums(index, codes.values), codes.dense.sum(0))
    assert torch.equal(found, weighted_rows(index, codes.values, x))
    assert bool((found[::3][1:] == 0).all())  # latents that never fire


@pytest.mark.parametrize("n", [SEGMENT, SEGMENT + 1, 2 * SEGMENT, 300])
def test_hot_latents_are_summed_in_pieces(random_codes, close, n):
    codes = random_codes(n, 20, 1.0, hot=4)
    index, x = by_latent(codes.indices, codes.offsets, 20), normal(n, 72)
    pieces = heavy_pieces(index)
    assert int(pieces.starts[-1]) == (0 if n == SEGMENT else -(-n // SEGMENT)) <= pieces.most
    found = weighted_rows(index, codes.values, x)
    close(found, codes.dense.T @ x.double())
    close(latent_sums(index, codes.values), codes.dense.sum(0))
    assert torch.equal(found, weighted_rows(index, codes.values, x))


def test_more_pieces_than_one_group_and_two_hot_latents(close):
    n = 5 * SEGMENT + 7
    indices = torch.tensor([1, 3], dtype=torch.int32).repeat(n)
    offsets = 2 * torch.arange(n + 1)
    index, values, x = by_latent(indices, offsets, 5), normal(2 * n, seed=2), normal(n, 3)
    assert int(heavy_pieces(index).starts[-1]) == 12
    wanted = torch.zeros(5, 3, dtype=torch.float64)
    wanted[[1, 3]] = values.view(n, 2).double().T @ x.double()
    close(weighted_rows(index, values, x), wanted)


def test_no_entries_at_all_give_zeros():
    index = by_latent(torch.zeros(0, dtype=torch.int32), torch.zeros(4, dtype=torch.int64), 11)
    assert torch.equal(weighted_rows(index, torch.zeros(0), normal(3, 48)), torch.zeros(11, 48))
    assert torch.equal(latent_sums(index, torch.zeros(0)), torch.zeros(11))


def test_bfloat16_is_summed_in_float32(random_codes, close):
    codes = random_codes(40, 16, 4.0, hot=2, dtype=torch.bfloat16)
    index, x = by_latent(codes.indices, codes.offsets, 16), normal(40, 96).bfloat16()
    close(weighted_rows(index, codes.values, x), codes.dense.T @ x.double())
    transposed = normal(96, 40).T  # gradients come in any layout
    assert torch.equal(
        weighted_rows(index, codes.values, transposed), weighted_rows(index, codes.values, transposed.contiguous())
    )
    with pytest.raises(TypeError, match="x is float64"):
        weighted_rows(index, codes.values, x.double())
