"""decode against a brute-force loop in float64, gradients included."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import SparseCodes, decode
from torch import Tensor


def slow_decode(codes: SparseCodes, directions: Tensor, bias: Tensor | None) -> Tensor:
    """x̂ = Σ_i z_i d_i + b, an entry at a time."""
    rows = []
    for r in range(len(codes.offsets) - 1):
        x_hat = torch.zeros(directions.shape[1], dtype=directions.dtype)
        for entry in range(int(codes.offsets[r]), int(codes.offsets[r + 1])):
            x_hat = x_hat + codes.values[entry] * directions[int(codes.indices[entry])]
        rows.append(x_hat if bias is None else x_hat + bias)
    return torch.stack(rows).view(*codes.shape, -1)


def example(kind: str) -> tuple[SparseCodes, Tensor, Tensor]:
    """Six rows over seven latents, values, rows and bias in float64 with gradients; latent 6 is in no row."""
    generator = torch.Generator().manual_seed(1)
    if kind == "ragged":
        dense = torch.randn(6, 7, generator=generator) * (torch.rand(6, 7, generator=generator) < 0.4)
        dense[2], dense[:, 6] = 0.0, 0.0
        codes = SparseCodes.from_dense(dense.double())
    else:
        order = torch.rand(6, 6, generator=generator).argsort(-1)[:, :3]
        values = torch.randn(6, 3, generator=generator).double()
        values[1, 0] = values[4] = 0.0  # stored zeros
        codes = SparseCodes.from_topk(values, order, 7)
    leaf = codes.values.clone().requires_grad_()
    codes = SparseCodes(leaf, codes.indices, codes.offsets, 7, (2, 3), codes.k)
    directions = torch.randn(7, 4, generator=generator).double().requires_grad_()
    return codes, directions, torch.randn(4, generator=generator).double().requires_grad_()


@pytest.mark.parametrize("kind", ["ragged", "k"])
def test_values_and_gradients_equal_those_of_the_loop(kind):
    codes, directions, bias = example(kind)
    weights = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2)).double()
    found, expected = decode(codes, directions, bias), slow_decode(codes, directions, bias)
    assert found.shape == (2, 3, 4)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    leaves = (codes.values, directions, bias)
    for name, a, b in zip(
        ("values", "rows", "bias"),
        torch.autograd.grad((found * weights).sum(), leaves),
        torch.autograd.grad((expected * weights).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12, msg=name)


@pytest.mark.parametrize("kind", ["ragged", "k"])
def test_gradcheck(kind):
    codes, directions, bias = example(kind)

    def run(values: Tensor, directions: Tensor, bias: Tensor) -> Tensor:
        return decode(SparseCodes(values, codes.indices, codes.offsets, 7, codes.shape, codes.k), directions, bias)

    assert torch.autograd.gradcheck(run, (codes.values, directions, bias))


def test_gradient_of_values_alone_and_of_rows_alone():
    """A frozen decoder still passes gradients to the codes, and the other way round."""
    codes, directions, _ = example("ragged")
    (of_values,) = torch.autograd.grad(decode(codes, directions.detach()).sum(), codes.values)
    torch.testing.assert_close(of_values, directions.detach().sum(1)[codes.indices.long()])
    (of_rows,) = torch.autograd.grad(decode(codes.detach(), directions).sum(), directions)
    torch.testing.assert_close(of_rows, codes.detach().to_dense().view(6, 7).sum(0)[:, None].expand(7, 4))


def test_a_stored_zero_gets_its_gradient():
    codes, directions, _ = example("k")
    assert int((codes.values == 0).sum()) == 4
    (gradient,) = torch.autograd.grad(decode(codes, directions).sum(), codes.values)
    assert bool((gradient != 0).all())


def test_empty_rows_give_the_bias_and_no_rows_give_nothing():
    bias = torch.tensor([1.0, 2.0])
    empty = SparseCodes.from_dense(torch.zeros(3, 5))
    assert decode(empty, torch.ones(5, 2), bias).tolist() == [[1, 2]] * 3
    assert decode(empty, torch.ones(5, 2)).tolist() == [[0, 0]] * 3
    assert decode(empty[:0], torch.ones(5, 2), bias).shape == (0, 2)


def test_rows_of_silent_latents_are_not_read():
    directions = torch.full((4, 2), torch.nan)
    directions[2] = torch.tensor([1.0, -1.0])
    codes = SparseCodes.from_dense(torch.tensor([[0.0, 0.0, 3.0, 0.0], [0.0, 0.0, -2.0, 0.0]]))
    assert decode(codes, directions).tolist() == [[3, -3], [-2, 2]]


def test_directions_that_are_a_transpose():
    codes, directions, bias = example("ragged")
    other = directions.detach().t().contiguous().t()
    assert not other.is_contiguous()
    assert torch.equal(decode(codes, other, bias), decode(codes, directions, bias))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_dtype_is_the_decoders(dtype):
    codes, directions, bias = example("k")
    found = decode(codes.detach(), directions.detach().to(dtype), bias.detach().to(dtype))
    assert found.dtype == dtype
    expected = slow_decode(codes.detach(), directions.detach(), bias.detach())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=16 * torch.finfo(dtype).eps)


def test_another_number_of_latents_is_refused():
    codes, directions, _ = example("k")
    with pytest.raises(ValueError, match="codes of 7 latents cannot be decoded by 6 directions"):
        decode(codes, directions[:6])
