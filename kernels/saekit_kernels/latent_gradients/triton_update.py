"""Gradients and Adam of a latent's rows in one Triton kernel: no gradient of the size of the weights is ever written.

One program a latent sums its decoder gradient Σ z g, makes it orthogonal to the row, takes Adam's step and gives the
row norm 1; then the encoder row (Σ s x) and the bias (Σ s) in the same way, without projection. Each weight and moment
is read once and written once: 24 bytes a parameter, where separate passes over float32 gradients take twice as many.
A row is held as a few parts, powers of two that add up to D (2304 = 2048 + 256), rather than padded to one of 4096.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from saekit_kernels.latent_gradients.reference import AdamStep, Moments, Parameters
from saekit_kernels.latent_gradients.triton_firings import (
    heavy_pieces,
    piece_sums,
    sum_of_firings,
    sum_of_pieces,
    sum_of_weights,
)
from saekit_kernels.latent_index.reference import LatentIndex
from saekit_kernels.launching import check_floats, check_rows, check_width, group_size, on_device_of, power_above

SMALLEST_NORM: tl.constexpr = tl.constexpr(1e-12)  # as in torch.nn.functional.normalize


@triton.jit
def adam(value, gradient, means, squares, place, inside, rate, share1, beta2, share2, root2, epsilon):
    """The parameter after its step; its moments are read and written at `place`. share = 1 − β, root2 = √(1 − β₂ᵗ)."""
    mean = tl.load(means + place, mask=inside, other=0.0)
    mean += share1 * (gradient - mean)
    square = beta2 * tl.load(squares + place, mask=inside, other=0.0) + share2 * gradient * gradient
    tl.store(means + place, mean, mask=inside)
    tl.store(squares + place, square, mask=inside)
    return value - rate * mean / (tl.sqrt(square) / root2 + epsilon)


@triton.jit(do_not_specialize=["rate", "share1", "beta2", "share2", "root2", "epsilon"])
def latent_update_kernel(
    starts,
    entries,
    rows,
    values,
    value_gradients,
    x,
    g,
    piece_starts,
    decoder_partials,
    encoder_partials,
    decoder,
    encoder,
    bias,
    decoder_mean,
    decoder_square,
    encoder_mean,
    encoder_square,
    bias_mean,
    bias_square,
    D,
    rate,
    share1,
    beta2,
    share2,
    root2,
    epsilon,
    WIDTHS: tl.constexpr,
    BEGINS: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """Adam's step on the decoder row, the encoder row and the bias of a program's latent."""
    latent = tl.program_id(0).to(tl.int64)
    begin = tl.load(starts + latent)
    end = tl.load(starts + latent + 1)
    first_piece = tl.load(piece_starts + latent)
    last_piece = tl.load(piece_starts + latent + 1)
    light_end = tl.where(first_piece < last_piece, begin, end)  # a heavy latent's firings are in its pieces

    gradients = ()  # tuples grow by addition: Triton reads no starred ones
    directions = ()
    along = 0.0
    for part in tl.static_range(len(WIDTHS)):
        d = BEGINS[part] + tl.arange(0, WIDTHS[part])
        gradient = sum_of_firings(
            entries, rows, values, g, begin, light_end, D, BEGINS[part], GROUPS[part], WIDTHS[part]
        )
        gradient += sum_of_pieces(
            decoder_partials, first_piece, last_piece, D, BEGINS[part], GROUPS[part], WIDTHS[part]
        )
        direction = tl.load(decoder + latent * D + d, mask=d < D, other=0.0)
        along += tl.sum(gradient * direction, 0)
        gradients = gradients + (gradient,)  # type: ignore[assignment]  # noqa: RUF005
        directions = directions + (direction,)  # type: ignore[assignment]  # noqa: RUF005

    moved = ()
    squared_norm = 0.0
    for part in tl.static_range(len(WIDTHS)):
        d = BEGINS[part] + tl.arange(0, WIDTHS[part])
        gradient = gradients[part] - along * directions[part]
        direction = adam(
            directions[part],
            gradient,
            decoder_mean,
            decoder_square,
            latent * D + d,
            d < D,
            rate,
            share1,
            beta2,
            share2,
            root2,
            epsilon,
        )
        squared_norm += tl.sum(direction * direction, 0)
        moved = moved + (direction,)  # type: ignore[assignment]  # noqa: RUF005

    norm = tl.maximum(tl.sqrt(squared_norm), SMALLEST_NORM)
    for part in tl.static_range(len(WIDTHS)):
        d = BEGINS[part] + tl.arange(0, WIDTHS[part])
        tl.store(decoder + latent * D + d, moved[part] / norm, mask=d < D)

    for part in tl.static_range(len(WIDTHS)):
        d = BEGINS[part] + tl.arange(0, WIDTHS[part])
        gradient = sum_of_firings(
            entries, rows, value_gradients, x, begin, light_end, D, BEGINS[part], GROUPS[part], WIDTHS[part]
        )
        gradient += sum_of_pieces(
            encoder_partials, first_piece, last_piece, D, BEGINS[part], GROUPS[part], WIDTHS[part]
        )
        place = latent * D + d
        row = tl.load(encoder + place, mask=d < D, other=0.0)
        row = adam(
            row, gradient, encoder_mean, encoder_square, place, d < D, rate, share1, beta2, share2, root2, epsilon
        )
        tl.store(encoder + place, row, mask=d < D)

    gradient = sum_of_weights(entries, value_gradients, begin, end, 64)
    moved_bias = adam(
        tl.load(bias + latent),
        gradient,
        bias_mean,
        bias_square,
        latent,
        latent >= 0,
        rate,
        share1,
        beta2,
        share2,
        root2,
        epsilon,
    )
    tl.store(bias + latent, moved_bias)


def parts(d: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths (powers of two, three at most, the last one perhaps wider than what is left) and where each begins."""
    widths: list[int] = []
    left = d
    while left > 0:
        width = 1 << (left.bit_length() - 1)
        if len(widths) == 2 or left < 16:
            width = max(power_above(left), 16)
        widths.append(width)
        left -= width
    return tuple(widths), tuple(sum(widths[:i]) for i in range(len(widths)))


def latent_update(
    index: LatentIndex,
    values: Float[Tensor, " entries"],
    value_gradients: Float[Tensor, " entries"],
    x: Float[Tensor, "n d"],
    g: Float[Tensor, "n d"],
    parameters: Parameters,
    moments: Moments,
    step: AdamStep,
) -> None:
    """One Adam step on every latent's rows and bias, in place; see reference.py for what it computes.

    Beside the parameters and moments (float32), memory for entries / 32 rows of D is taken.
    """
    check_floats(values=values, value_gradients=value_gradients, x=x, g=g)
    check_rows(**parameters._asdict(), **moments._asdict())
    d = parameters.decoder.shape[1]
    check_width(d, x=x, g=g, encoder=parameters.encoder)
    for name, tensor in {**parameters._asdict(), **moments._asdict()}.items():
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name} is {str(tensor.dtype).removeprefix('torch.')}, and the update is made in float32.")
    values, value_gradients, x, g = (tensor.contiguous() for tensor in (values, value_gradients, x, g))
    pieces = heavy_pieces(index)
    decoder_partials = piece_sums(index, pieces, values, g)
    encoder_partials = piece_sums(index, pieces, value_gradients, x)
    widths, begins = parts(d)
    warps = 4 if d <= 1024 else 8 if d < 4096 else 16
    with on_device_of(x):
        latent_update_kernel[(len(parameters.decoder),)](
            *index,
            values,
            value_gradients,
            x,
            g,
            pieces.starts,
            decoder_partials,
            encoder_partials,
            *parameters,
            *moments,
            d,
            step.lr / (1 - step.beta1**step.number),
            1 - step.beta1,
            step.beta2,
            1 - step.beta2,
            (1 - step.beta2**step.number) ** 0.5,
            step.epsilon,
            WIDTHS=widths,
            BEGINS=begins,
            GROUPS=tuple(max(min(group_size(), 512 * warps // width), 1) for width in widths),
            num_warps=warps,
        )
