"""The loss and its whole gradient, against autograd through dense float64 tensors, one step after the other."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import AuxK, SparseCodes, encode_above, encode_top_k, reconstruction_loss, using
from saekit_kernels.reconstruction import auxk as of_the_dead
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

N, D, LATENTS = 23, 6, 14
DEAD = torch.tensor([1, 4, 5, 9])


def example(d_out: int = D) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "encoder": (LATENTS, D),
        "encoder_bias": (LATENTS,),
        "decoder": (LATENTS, d_out),
        "decoder_bias": (d_out,),
    }
    return {name: torch.randn(*shape, generator=generator).double().requires_grad_() for name, shape in shapes.items()}


def inputs(d_out: int = D) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, D, generator=generator).double(), torch.randn(N, d_out, generator=generator).double()


def slowly(
    x: Tensor, target: Tensor, p: dict[str, Tensor], support: Tensor, centred: bool, auxk: AuxK | None
) -> Tensor:
    """Everything dense: z = u on the support, the dead by a sort."""
    u = (x - p["decoder_bias"] if centred else x) @ p["encoder"].T + p["encoder_bias"]
    residual = target - (u * support).relu() @ p["decoder"] - p["decoder_bias"]
    total = residual.square().sum(1).mean() / target.shape[1]
    if auxk is not None:
        of_dead = u[:, auxk.latents].relu()
        kept = torch.zeros_like(of_dead).scatter(1, of_dead.sort(1, descending=True).indices[:, : auxk.k], 1.0)
        missed = residual.detach() - (of_dead * kept) @ p["decoder"][auxk.latents]
        counts = torch.tensor([auxk.every * (t % auxk.every == auxk.start) for t in range(len(x))])
        total = total + auxk.weight * (missed.square().sum(1) * counts).mean() / target.shape[1]
    return total


@pytest.mark.parametrize("path", ["cpu", "reference"])
@pytest.mark.parametrize(
    "auxk",
    [None, *(AuxK(DEAD, k, 0.3) for k in (1, 3, 4)), *(AuxK(DEAD, 3, 0.3, start, 4) for start in (0, 3))],
    ids=str,
)
@pytest.mark.parametrize("kind", ["top-k", "ragged", "nothing fires", "a transcoder"])
def test_value_and_gradients(kind, auxk, path):
    d_out = 9 if kind == "a transcoder" else D
    p, (x, target), centred = example(d_out), inputs(d_out), kind != "a transcoder"
    centre = p["decoder_bias"].detach() if centred else None
    encoder, bias = p["encoder"].detach(), p["encoder_bias"].detach()
    with using(path):
        if kind == "ragged":
            codes = encode_above(x, encoder, bias, 1.5, centre)
        elif kind == "nothing fires":
            codes = SparseCodes.from_dense(torch.zeros(N, LATENTS).double())
        else:
            codes = encode_top_k(x, encoder, bias, 3, centre)
        total, error = reconstruction_loss(codes, x, target, *p.values(), centred, auxk)
        found = torch.autograd.grad(3 * total, list(p.values()))
    support = (codes.to_dense() > 0).double()
    expected = slowly(x, target, p, support, centred, auxk)
    torch.testing.assert_close(total, expected)
    x_hat = codes.to_dense() @ p["decoder"] + p["decoder_bias"]
    torch.testing.assert_close(error, (target - x_hat).square().sum(1).detach())
    assert not error.requires_grad
    for name, a, b in zip(p, found, torch.autograd.grad(3 * expected, list(p.values())), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("path", ["cpu", "reference"])
def test_signed_codes(path):
    """z = u on the two entries of largest |u|, negative ones too: their gradients are not cut off."""
    p, (x, target) = example(), inputs()
    u = x @ p["encoder"].T + p["encoder_bias"]
    support = torch.zeros_like(u).scatter(1, u.detach().abs().topk(2).indices, 1.0)
    codes = SparseCodes.from_dense((u * support).detach())
    assert bool((codes.values < 0).any()) and bool((codes.values > 0).any())
    expected = (target - (u * support) @ p["decoder"] - p["decoder_bias"]).square().mean()
    with using(path):
        total, _ = reconstruction_loss(codes, x, target, *p.values(), False)
        found = torch.autograd.grad(total, list(p.values()))
    for name, a, b in zip(p, found, torch.autograd.grad(expected, list(p.values())), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_auxk_reaches_the_dead_alone():
    """With codes that reconstruct nothing the other rows would have no gradient but for the bias they share."""
    p, (x, target) = example(), inputs()
    nothing = SparseCodes.from_dense(torch.zeros(N, LATENTS).double())
    total, _ = reconstruction_loss(nothing, x, target, *p.values(), False, AuxK(DEAD, 2, 1.0))
    total.backward()
    alive = torch.ones(LATENTS, dtype=torch.bool).index_fill(0, DEAD, False)
    for name in ("encoder", "decoder"):
        assert p[name].grad[DEAD].any(1).all() and not p[name].grad[alive].any(), name


def test_auxk_of_no_token_is_nothing():
    """One of very many processes may have no row of those that count."""
    p, (x, target) = example(), inputs()
    codes = encode_top_k(x[:3], p["encoder"].detach(), p["encoder_bias"].detach(), 3)
    plain, none = (
        reconstruction_loss(codes, x[:3], target[:3], *p.values(), False, auxk)[0]
        for auxk in (None, AuxK(DEAD, 2, 1.0, 3, 4))
    )
    assert torch.equal(plain, none)
    none.backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in p.values())


def test_on_a_gpu_products_of_bfloat16_are_summed_and_left_in_float32():
    """Asked of tensors that only claim to lie on one: the product writes float32, nothing is cast from 8 bits."""
    seen = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.overloadpacket is torch.ops.aten.mm:
                seen.append((str(func), args[0].dtype))
            return func(*args, **(kwargs or {}))

    with FakeTensorMode(), Products():
        for product in (torch.bfloat16, torch.float32):
            a, b = torch.empty(3, 4, device="cuda"), torch.empty(5, 4, device="cuda")
            made = of_the_dead._times(a, b.T, product)
            assert made.dtype == torch.float32 and made.shape == (3, 5)
    assert seen == [("aten.mm.dtype", torch.bfloat16), ("aten.mm.default", torch.float32)]


def test_a_frozen_decoder_has_no_gradient():
    p, (x, target) = example(), inputs()
    p["decoder"].requires_grad_(False)
    codes = encode_top_k(x, p["encoder"].detach(), p["encoder_bias"].detach(), 3)
    reconstruction_loss(codes, x, target, *p.values(), False, AuxK(DEAD, 2, 1.0))[0].backward()
    assert p["decoder"].grad is None and p["encoder"].grad.any()


def test_products_in_bfloat16_are_near():
    p = {name: tensor.detach().float().requires_grad_() for name, tensor in example().items()}
    x, target = (tensor.float() for tensor in inputs())
    codes = encode_top_k(x, p["encoder"].detach(), p["encoder_bias"].detach(), 3)
    found = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            total, _ = reconstruction_loss(codes, x, target, *p.values(), False, AuxK(DEAD, 2, 1.0))
        found.append([total.detach(), *torch.autograd.grad(total, list(p.values()))])
    for a, b in zip(*found, strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert float((a - b).norm() / a.norm().clamp_min(1e-3)) < 0.01
    assert not all(torch.equal(a, b) for a, b in zip(*found, strict=True))
