"""The gradient of codes on a CPU: ⟨g_t, d_e⟩ for each entry, as an embedding bag's backward pass computes it."""

from __future__ import annotations

import torch
from torch import Tensor

from saekit_kernels.decode import reference
from saekit_kernels.sparse_codes import rows_of

SUM_MODE = 0


def value_gradients(indices: Tensor, offsets: Tensor, directions: Tensor, gradient: Tensor) -> Tensor:
    backward = getattr(torch.ops.aten, "_embedding_bag_per_sample_weights_backward", None)  # torch calls it private
    if backward is None or not len(indices):
        return reference.value_gradients(indices, offsets, directions, gradient)
    rows = rows_of(offsets, len(indices))
    return backward(gradient, directions, indices.long(), offsets[:-1], rows, SUM_MODE)
