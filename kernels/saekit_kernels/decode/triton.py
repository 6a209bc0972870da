"""Decoding in Triton: one program a token gathers the decoder rows of its latents.

x̂ = Σ_i z_i d_i + b, residual = target − x̂, error = ‖residual‖², ∂⟨g, x̂⟩/∂z_i = ⟨g, d_i⟩. A row's D numbers are walked
block by block; its entries are read in small groups, each with its own accumulator, so that several gathered rows are
in flight at once. x̂ is never written when the residual is what is wanted. Sums are float32, and their order is fixed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.launching import block_width, check_floats, check_width, group_size, on_device_of


@triton.jit
def in_range(latent, F):
    """Which latents are in 0 … F − 1, and 0 for the others: nothing beyond the directions is read. What such an entry
    gives is NaN, which whoever uses the sum meets."""
    there = (latent >= 0) & (latent < F)
    return there, tl.where(there, latent, 0)


@triton.jit
def decode_kernel(
    values,
    indices,
    offsets,
    directions,
    bias,
    target,
    out,
    error,
    F,
    D,
    HAS_BIAS: tl.constexpr,
    RESIDUAL: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """x̂ of a program's row, or target − x̂ and its squared norm."""
    row = tl.program_id(0).to(tl.int64)
    first = tl.load(offsets + row)
    last = tl.load(offsets + row + 1)
    lane = tl.arange(0, GROUP)
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, D, BLOCK):
        d = start + tl.arange(0, BLOCK)
        inside = d < D
        total = tl.zeros((GROUP, BLOCK), tl.float32)
        entry = first
        while entry < last:
            live = entry + lane < last
            value = tl.load(values + entry + lane, mask=live, other=0.0).to(tl.float32)
            latent = tl.load(indices + entry + lane, mask=live, other=0).to(tl.int64)
            there, latent = in_range(latent, F)
            value = tl.where(there, value, float("nan"))
            direction = tl.load(
                directions + latent[:, None] * D + d[None, :], mask=live[:, None] & inside[None, :], other=0.0
            ).to(tl.float32)
            total += value[:, None] * direction
            entry += GROUP
        x_hat = tl.sum(total, 0)
        if HAS_BIAS:
            x_hat += tl.load(bias + d, mask=inside, other=0.0).to(tl.float32)
        if RESIDUAL:
            residual = tl.load(target + row * D + d, mask=inside, other=0.0).to(tl.float32) - x_hat
            squares += residual * residual
            tl.store(out + row * D + d, residual.to(out.dtype.element_ty), mask=inside)
        else:
            tl.store(out + row * D + d, x_hat.to(out.dtype.element_ty), mask=inside)
    if RESIDUAL:
        tl.store(error + row, tl.sum(squares, 0))


@triton.jit
def value_gradients_kernel(indices, offsets, directions, g, out, F, D, GROUP: tl.constexpr, BLOCK: tl.constexpr):
    """⟨g_row, d_latent⟩ of every entry of a program's row."""
    row = tl.program_id(0).to(tl.int64)
    last = tl.load(offsets + row + 1)
    lane = tl.arange(0, GROUP)
    entry = tl.load(offsets + row)
    while entry < last:
        live = entry + lane < last
        latent = tl.load(indices + entry + lane, mask=live, other=0).to(tl.int64)
        there, latent = in_range(latent, F)
        products = tl.zeros((GROUP, BLOCK), tl.float32)
        for start in range(0, D, BLOCK):
            d = start + tl.arange(0, BLOCK)
            inside = d < D
            gradient = tl.load(g + row * D + d, mask=inside, other=0.0).to(tl.float32)
            direction = tl.load(
                directions + latent[:, None] * D + d[None, :], mask=live[:, None] & inside[None, :], other=0.0
            ).to(tl.float32)
            products += gradient[None, :] * direction
        tl.store(out + entry + lane, tl.where(there, tl.sum(products, 1), float("nan")), mask=live)
        entry += GROUP


def decode_rows(
    values: Float[Tensor, " entries"],
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    directions: Float[Tensor, "d_sae d"],
    bias: Float[Tensor, " d"] | None = None,
) -> Float[Tensor, "rows d"]:
    """x̂ [n, D] in the directions' dtype; an empty row gives the bias."""
    out = torch.empty(len(offsets) - 1, directions.shape[1], dtype=directions.dtype, device=directions.device)
    _decode(values, indices, offsets, directions, bias, None, out, None)
    return out


def decode_residual(
    values: Float[Tensor, " entries"],
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    directions: Float[Tensor, "d_sae d"],
    bias: Float[Tensor, " d"] | None,
    target: Float[Tensor, "rows d"],
) -> tuple[Float[Tensor, "rows d"], Float[Tensor, " rows"]]:
    """target − x̂ [n, D] in the target's dtype, and its squared norm [n] in float32."""
    check_floats(target=target)
    check_width(directions.shape[1], target=target)
    target = target.contiguous()
    residual = torch.empty(target.shape, dtype=target.dtype, device=target.device)
    error = torch.empty(len(target), dtype=torch.float32, device=target.device)
    _decode(values, indices, offsets, directions, bias, target, residual, error)
    return residual, error


def _decode(
    values: Tensor,
    indices: Tensor,
    offsets: Tensor,
    directions: Tensor,
    bias: Tensor | None,
    target: Tensor | None,
    out: Tensor,
    error: Tensor | None,
) -> None:
    check_floats(values=values, directions=directions)
    directions = directions.contiguous()  # a site's columns, for example
    d = directions.shape[1]
    if bias is not None:
        check_width(d, bias=bias)
        bias = bias.contiguous()
    if out.numel() == 0:
        return
    with on_device_of(directions):
        decode_kernel[(len(out),)](
            values.contiguous(),
            indices.contiguous(),
            offsets.contiguous(),
            directions,
            directions if bias is None else bias,  # a pointer must be passed; without HAS_BIAS it is not read
            out if target is None else target,
            out,
            out if error is None else error,
            len(directions),
            d,
            HAS_BIAS=bias is not None,
            RESIDUAL=target is not None,
            GROUP=group_size(),
            BLOCK=block_width(d),
            num_warps=4,
        )


def value_gradients(
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    directions: Float[Tensor, "d_sae d"],
    g: Float[Tensor, "rows d"],
) -> Float[Tensor, " entries"]:
    """⟨g_row, d_latent⟩ of every entry, [entries] float32: the gradient of ⟨g, x̂⟩ in the values."""
    check_floats(directions=directions, g=g)
    directions = directions.contiguous()  # a site's columns, for example
    d = directions.shape[1]
    check_width(d, g=g)
    out = torch.empty(len(indices), dtype=torch.float32, device=directions.device)
    if len(indices):
        with on_device_of(directions):
            value_gradients_kernel[(len(g),)](
                indices.contiguous(),
                offsets.contiguous(),
                directions,
                g.contiguous(),
                out,
                len(directions),
                d,
                GROUP=group_size(),
                BLOCK=block_width(d),
                num_warps=4,
            )
    return out
