"""Top-k selection in plain torch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from saekit_kernels.sparse_codes import SparseCodes


def top_k(pre_activations: Float[Tensor, "*shape d_sae"], k: int) -> SparseCodes:
    """Keep the k largest pre-activations of each row, after a ReLU.

    A row with fewer than k positive values keeps k entries, the rest stored zeros. Gradients reach the kept entries.
    Raises ValueError when k is not in 1 … d_sae.
    """
    d_sae = pre_activations.shape[-1]
    if not 1 <= k <= d_sae:
        raise ValueError(f"k must be between 1 and the {d_sae} latents there are, found {k}.")
    values, indices = pre_activations.topk(k, dim=-1, sorted=False)
    return SparseCodes.from_topk(values.relu(), indices, d_sae)
