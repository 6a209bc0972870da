"""Decoding in Triton as an operation that torch.compile and autograd know.

Backward, with g the gradient of x̂: ∂z_te = ⟨g_t, d_e⟩ for the entries, ∂d_f = Σ_t z_tf g_t."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from saekit_kernels.decode.gradients import value_gradients
from saekit_kernels.latent_gradients import weighted_rows
from saekit_kernels.operations import operation


def decode_gathered(values: Tensor, indices: Tensor, offsets: Tensor, directions: Tensor) -> Tensor:
    """Σ over the entries of each row of value · direction, [rows, d], of values and indices [entries], offsets
    [rows + 1] and directions [d_sae, d]; in the directions' dtype."""
    from saekit_kernels.decode import triton

    return triton.decode_rows(values, indices, offsets, directions, None).to(directions.dtype)


def _like_x(values: Tensor, indices: Tensor, offsets: Tensor, directions: Tensor) -> Tensor:
    return directions.new_empty(len(offsets) - 1, directions.shape[1])


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    values, indices, offsets, directions = ctx.saved_tensors
    of_values, of_directions = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
    return (
        value_gradients(indices, offsets, directions, gradient) if of_values else None,
        None,
        None,
        weighted_rows(values, indices, offsets, gradient, len(directions)) if of_directions else None,
    )


gathered = operation(decode_gathered, _like_x, _backward, _setup)
