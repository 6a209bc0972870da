"""decode/triton.py against a dense float64 product."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels.decode.triton import decode_residual, decode_rows, value_gradients

SHAPES = [(1, 40, 48, 3.0), (63, 100, 96, 7.0), (7, 1000, 200, 32.0), (5, 30, 1, 2.0)]  # n, d_sae, D, mean L0


def normal(*shape: int, seed: int = 1, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize(("n", "d_sae", "d", "l0"), SHAPES)
@pytest.mark.parametrize("biased", [True, False])
def test_rows_and_residual(random_codes, close, n, d_sae, d, l0, biased):
    codes = random_codes(n, d_sae, l0, hot=1)
    directions, bias, target = normal(d_sae, d), normal(d, seed=2) if biased else None, normal(n, d, seed=3)
    wanted = codes.dense @ directions.double() + (bias.double() if bias is not None else 0)
    x_hat = decode_rows(*codes[:3], directions, bias)
    residual, error = decode_residual(*codes[:3], directions, bias, target)
    close(x_hat, wanted)
    close(residual, target - wanted)
    close(error, (target - wanted).square().sum(1))
    again = decode_residual(*codes[:3], directions, bias, target)
    assert torch.equal(residual, again[0]) and torch.equal(error, again[1])


@pytest.mark.parametrize(("n", "d_sae", "d", "l0"), SHAPES)
def test_value_gradients(random_codes, close, n, d_sae, d, l0):
    codes = random_codes(n, d_sae, l0, hot=1)
    directions, g = normal(d_sae, d), normal(n, d, seed=4)
    found = value_gradients(codes.indices, codes.offsets, directions, g)
    rows = torch.repeat_interleave(torch.arange(n), codes.offsets.diff())
    close(found, (g.double() @ directions.double().T)[rows, codes.indices.long()])
    assert torch.equal(found, value_gradients(codes.indices, codes.offsets, directions, g))


def test_no_entries_at_all_give_the_bias():
    values, indices, offsets = torch.zeros(0), torch.zeros(0, dtype=torch.int32), torch.zeros(4, dtype=torch.int64)
    directions, bias, target = normal(10, 48), normal(48, seed=2), normal(3, 48, seed=3)
    assert torch.equal(decode_rows(values, indices, offsets, directions, bias), bias.expand(3, 48))
    residual, error = decode_residual(values, indices, offsets, directions, None, target)
    assert torch.equal(residual, target) and error.shape == (3,)
    assert value_gradients(indices, offsets, directions, target).shape == (0,)


def test_no_rows_at_all():
    values, indices, offsets = torch.zeros(0), torch.zeros(0, dtype=torch.int32), torch.zeros(1, dtype=torch.int64)
    assert decode_rows(values, indices, offsets, normal(10, 48)).shape == (0, 48)


def test_bfloat16_rows_are_summed_in_float32(random_codes, close):
    codes = random_codes(9, 64, 8.0, dtype=torch.bfloat16)
    directions, target = normal(64, 96, dtype=torch.bfloat16), normal(9, 96, seed=3)
    wanted = codes.dense @ directions.double()
    close(decode_residual(*codes[:3], directions, None, target)[0], target - wanted)
    close(decode_rows(*codes[:3], directions), wanted, 2**-7)  # the interpreter rounds bfloat16 towards zero
    close(
        value_gradients(codes.indices, codes.offsets, directions, target.bfloat16()),
        (target.bfloat16().double() @ directions.double().T)[codes.dense != 0],
    )


def test_what_is_refused_and_what_is_copied(random_codes, close):
    codes = random_codes(6, 20, 3.0, hot=1)
    g = normal(6, 8)
    for directions in (normal(8, 20).T, normal(20, 24)[:, 8:16]):  # the columns of one site of three
        rows = directions.contiguous()
        assert torch.equal(decode_rows(*codes[:3], directions), decode_rows(*codes[:3], rows))
        products = (value_gradients(codes.indices, codes.offsets, each, g) for each in (directions, rows))
        assert torch.equal(*products)
    with pytest.raises(TypeError, match="directions is float64"):
        decode_rows(*codes[:3], normal(20, 8).double())
    with pytest.raises(ValueError, match="target are 7 wide, and the directions are 8 wide"):
        decode_residual(*codes[:3], normal(20, 8), None, normal(6, 7))
    g = normal(8, 6).T  # gradients come in any layout
    assert torch.equal(
        value_gradients(codes.indices, codes.offsets, normal(20, 8), g),
        value_gradients(codes.indices, codes.offsets, normal(20, 8), g.contiguous()),
    )


def test_a_latent_that_is_not_there_gives_nan_and_reads_nothing(random_codes):
    codes = random_codes(6, 20, 4.0)
    indices, directions = codes.indices.clone(), torch.randn(20, 33)
    rows = torch.repeat_interleave(torch.arange(6), codes.offsets.diff())
    for wrong in (20, 2**30, -1):
        indices[2] = wrong
        x_hat = decode_rows(codes.values, indices, codes.offsets, directions)
        assert x_hat.isnan().any(1).tolist() == [row == int(rows[2]) for row in range(6)]
        s = value_gradients(indices, codes.offsets, directions, torch.ones(6, 33))
        assert s.isnan().tolist() == [entry == 2 for entry in range(len(indices))]
