"""Encoding a chunk at a time, against all pre-activations at once in float64, gradients included."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import SparseCodes, decode, encode, encode_above, encode_batch_top_k, encode_top_k, using
from saekit_kernels.encode import chunked
from torch import Tensor

N, D, LATENTS = 37, 12, 50
THRESHOLDS = {"one": torch.tensor(0.4).double(), "one a latent": torch.linspace(0.1, 0.8, LATENTS).double()}


def example(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (N, D), "directions": (LATENTS, D), "bias": (LATENTS,), "centre": (D,)}
    return {name: torch.randn(*shape, generator=generator).double().requires_grad_() for name, shape in shapes.items()}


@pytest.fixture(params=["all rows", "a row", "five rows"], autouse=True)
def chunk(request, monkeypatch):
    rows = {"all rows": N, "a row": 1, "five rows": 5}[request.param]
    monkeypatch.setitem(chunked.CHUNK_BYTES, "cpu", rows * LATENTS * 8)
    monkeypatch.setattr(encode, "FEW", 0)


def slow(g: dict[str, Tensor], centre: bool) -> Tensor:
    return (g["x"] - g["centre"] if centre else g["x"]) @ g["directions"].T + g["bias"]


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("k", [1, 4, LATENTS])
def test_top_k_equals_the_dense_way(k, centre):
    g = example()
    u = slow(g, centre)
    kept = torch.zeros_like(u).scatter(1, u.topk(k).indices, 1.0)
    expected = (u * kept).relu()
    codes = encode_top_k(g["x"], g["directions"], g["bias"], k, g["centre"] if centre else None)
    torch.testing.assert_close(codes.to_dense(), expected)
    assert codes.k == k and codes.indices.dtype == torch.int32 and codes.shape == (N,)
    assert bool((codes.indices.view(N, k).diff(dim=1) > 0).all())
    same_gradients(codes.to_dense(), expected, g, centre)


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("which", THRESHOLDS)
def test_above_equals_the_dense_way(which, centre):
    g = example(1)
    u = slow(g, centre)
    expected = torch.where(u > THRESHOLDS[which], u, 0)
    codes = encode_above(g["x"], g["directions"], g["bias"], THRESHOLDS[which], g["centre"] if centre else None)
    torch.testing.assert_close(codes.to_dense(), expected)
    same_gradients(codes.to_dense(), expected, g, centre)


@pytest.mark.parametrize("bound", [0.0, 0.3, 1e6])
@pytest.mark.parametrize("wanted", [1, 100, N * LATENTS])
def test_batch_top_k_equals_the_dense_way(wanted, bound):
    """A lower bound changes nothing, whether it lets enough entries pass or not."""
    g = example(11)
    u = slow(g, True)
    least = u.detach().flatten().sort(descending=True).values[wanted - 1]
    expected = torch.where((u >= least) & (u > 0), u, 0)
    codes = encode_batch_top_k(g["x"], g["directions"], g["bias"], wanted, bound, g["centre"])
    torch.testing.assert_close(codes.to_dense(), expected)
    assert len(codes.values) == min(wanted, int((u > 0).sum()))
    same_gradients(codes.to_dense(), expected, g, True)
    with using("reference"):
        plain = encode_batch_top_k(g["x"], g["directions"], g["bias"], wanted, bound, g["centre"])
    torch.testing.assert_close(plain.to_dense(), expected)


def test_of_equals_at_the_border_the_first_are_kept():
    ones = torch.ones(3, 2, dtype=torch.float64)
    codes = encode_batch_top_k(ones, torch.ones(4, 2).double(), torch.zeros(4).double(), 6)
    assert codes.to_dense().tolist() == [[2, 2, 2, 2], [2, 2, 0, 0], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match="wanted must be at least 1 entry of the batch, found 0"):
        encode_batch_top_k(ones, torch.ones(4, 2).double(), torch.zeros(4).double(), 0)


def same_gradients(found: Tensor, expected: Tensor, g: dict[str, Tensor], centre: bool) -> None:
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(9)).double()
    leaves = [tensor for name, tensor in g.items() if centre or name != "centre"]
    pairs = zip(*(torch.autograd.grad((z * weights).sum(), leaves) for z in (found, expected)), strict=True)
    for name, (a, b) in zip(g, pairs, strict=False):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_the_paths_agree(path):
    g = example(2)
    with using(path):
        codes = encode_top_k(g["x"], g["directions"], g["bias"], 3, g["centre"])
        above = encode_above(g["x"], g["directions"], g["bias"], 0.7, g["centre"])
    u = slow(g, True)
    torch.testing.assert_close(codes.values.view(N, 3).sort().values, u.topk(3).values.relu().sort().values)
    torch.testing.assert_close(above.values, u[u > 0.7])


def test_gradcheck_through_decoding():
    g = {name: tensor.detach()[:4].requires_grad_() for name, tensor in example(3).items()}
    g = {name: tensor.detach()[..., :4].requires_grad_() for name, tensor in g.items()}

    def run(*leaves: Tensor) -> Tensor:
        x, directions, bias, centre = leaves
        return decode(encode_top_k(x, directions, bias, 2, centre), directions, centre)

    assert torch.autograd.gradcheck(run, tuple(g.values()))


def test_a_frozen_part_gets_no_gradient_and_costs_none():
    g = example(4)
    codes = encode_top_k(g["x"].detach(), g["directions"].detach(), g["bias"], 2)
    codes.values.sum().backward()
    assert g["x"].grad is None and g["directions"].grad is None
    expected = torch.bincount(codes.indices.long()[codes.values > 0], minlength=LATENTS).double()
    assert torch.equal(g["bias"].grad, expected)
    with torch.no_grad():
        assert not encode_top_k(g["x"], g["directions"], g["bias"], 2).values.requires_grad


def test_leading_shape_and_no_rows():
    g = example(5)
    x = g["x"][:36].view(4, 9, D)
    for codes in (encode_top_k(x, g["directions"], g["bias"], 2), encode_above(x, g["directions"], g["bias"], 0.0)):
        assert codes.shape == (4, 9)
    for codes in (
        encode_top_k(x[:0], g["directions"], g["bias"], 2, g["centre"]),
        encode_above(x[:0], g["directions"], g["bias"], 0.0),
    ):
        assert codes.shape == (0, 9) and len(codes.values) == 0
        codes.values.sum().backward()
        assert not g["directions"].grad.any()


def test_all_dead_and_everything_equal():
    g = {name: tensor.detach() for name, tensor in example().items()}
    low = g["bias"] - 1e6
    assert not encode_top_k(g["x"], g["directions"], low, 3).values.any()
    assert len(encode_above(g["x"], g["directions"], low, 0.0).values) == 0
    equal = encode_top_k(g["x"], 0 * g["directions"], torch.ones(LATENTS).double(), 3)
    assert bool((equal.values == 1).all()) and bool((equal.indices.view(N, 3).diff(dim=1) > 0).all())


def test_autocast_makes_the_product_in_bfloat16():
    g = {name: tensor.detach().float().requires_grad_() for name, tensor in example(6).items()}
    plain = encode_top_k(*list(g.values())[:3], 5, g["centre"])
    with torch.autocast("cpu", torch.bfloat16):
        for path in ("cpu", "reference"):
            with using(path):
                codes = encode_top_k(*list(g.values())[:3], 5, g["centre"])
            assert codes.values.dtype == torch.float32
            assert torch.equal(codes.values, codes.values.bfloat16().float()), "values have the digits of bfloat16"
            torch.testing.assert_close(codes.values.sum(), plain.values.sum(), rtol=0.01, atol=0.0)
            codes.values.sum().backward()
            assert g["directions"].grad.dtype == torch.float32


@pytest.mark.parametrize(
    "make", [lambda *a: encode_top_k(*a, 3), lambda *a: encode_above(*a, 0.5), lambda *a: encode_batch_top_k(*a, 40)]
)
def test_torch_compile_sees_one_graph(make):
    """Forward and backward as one graph, the operations whole in it; the "aot_eager" backend needs no compiler."""
    g = example(7)

    def loss(x: Tensor, directions: Tensor, bias: Tensor) -> Tensor:
        codes: SparseCodes = make(x, directions, bias)
        return decode(codes, directions).square().sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True, dynamic=True)
    leaves = list(g.values())[:3]
    found, expected = compiled(*leaves), loss(*leaves)
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be between 1 and the 50 latents there are, found 0"),
        ({"k": 51}, "k must be between 1 and the 50 latents there are, found 51"),
        ({"x": torch.ones(3, 11).double()}, "activations of width 11 cannot be read by directions of 12"),
        ({"x": torch.ones(3, 12)}, "activations are torch.float32 on cpu, directions torch.float64 on cpu: make them"),
        ({"bias": torch.ones(50).float()}, "activations are torch.float64 on cpu, bias torch.float32 on cpu: make"),
        ({"bias": torch.ones(49).double()}, "50 directions need as many biases, found shape"),
        ({"x": torch.ones(3, 12).long()}, "activations are floating point, found torch.int64"),
    ],
)
def test_refused(change, message):
    arguments = {name: tensor.detach() for name, tensor in example().items()} | {"k": 3} | change
    with pytest.raises(ValueError, match=message):
        encode_top_k(**arguments)


def test_non_contiguous_is_right():
    g = {name: tensor.detach() for name, tensor in example(8).items()}
    expected = encode_top_k(g["x"], g["directions"], g["bias"], 4)
    found = encode_top_k(g["x"].T.contiguous().T, g["directions"].T.contiguous().T, g["bias"], 4)
    assert torch.equal(found.indices, expected.indices)
    torch.testing.assert_close(found.values, expected.values)


def test_the_same_bits_twice():
    g = {name: tensor.detach().requires_grad_() for name, tensor in example(10).items()}
    twice = []
    for _ in range(2):
        codes = encode_top_k(*list(g.values())[:3], 4, g["centre"])
        twice.append([codes.values, *torch.autograd.grad(codes.values.square().sum(), list(g.values()))])
    assert all(torch.equal(a, b) for a, b in zip(*twice, strict=True))
