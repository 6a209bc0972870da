"""The gradient of codes: ∂z_te = ⟨g_t, d_e⟩ for each entry, g the gradient of x̂."""

from __future__ import annotations

from torch import Tensor

from saekit_kernels.decode import cpu, reference
from saekit_kernels.dispatch import path_for
from saekit_kernels.operations import operation


def decode_value_gradients(indices: Tensor, offsets: Tensor, directions: Tensor, gradient: Tensor) -> Tensor:
    """⟨g[row(e)], d_e⟩, [entries], of indices [entries], offsets [rows + 1], directions [d_sae, d] and g [rows, d]."""
    path = path_for(directions)
    if path == "triton":
        from saekit_kernels.decode import triton

        return triton.value_gradients(indices, offsets, directions, gradient.contiguous()).to(directions.dtype)
    return (cpu if path == "cpu" else reference).value_gradients(indices, offsets, directions, gradient)


def _like_values(indices: Tensor, offsets: Tensor, directions: Tensor, gradient: Tensor) -> Tensor:
    return directions.new_empty(len(indices))


value_gradients = operation(decode_value_gradients, _like_values)
