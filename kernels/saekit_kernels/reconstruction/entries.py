"""What the entries of codes give every row and bias: one index by latent on a CPU, sums of their own elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from saekit_kernels.decode import value_gradients
from saekit_kernels.decode.cpu import sorted_value_gradients
from saekit_kernels.dispatch import path_for
from saekit_kernels.latent_gradients import latent_sums, weighted_rows
from saekit_kernels.latent_gradients.cpu import sorted_latent_sums, sorted_weighted_rows
from saekit_kernels.latent_index import by_latent


class EntryGradients(NamedTuple):
    """sums: Σ_t s_tf of each latent; encoder: Σ_t s_tf (x_t − c); decoder: Σ_t z_tf g_t, None if it is frozen."""

    sums: Float[Tensor, " d_sae"]
    encoder: Float[Tensor, "d_sae d_in"]
    decoder: Float[Tensor, "d_sae d_out"] | None


def entry_gradients(
    values: Float[Tensor, " entries"],
    indices: Int[Tensor, " entries"],
    offsets: Int[Tensor, " rows_and_one"],
    decoder: Float[Tensor, "d_sae d_out"],
    g: Float[Tensor, "n d_out"],
    read: Float[Tensor, "n d_in"],
    frozen: bool,
) -> EntryGradients:
    """Sums over the entries with g = ∂loss/∂x̂, read = x − c and s = ⟨g_t, d_f⟩ where z ≠ 0 (a stored zero is off)."""
    d_sae = len(decoder)
    if path_for(g) == "cpu":
        index = by_latent(indices, offsets, d_sae)
        z = values.index_select(0, index.entries)
        s = sorted_value_gradients(index, decoder, g).masked_fill_(z == 0, 0)
        of_decoder = None if frozen else sorted_weighted_rows(index, z, g)
        return EntryGradients(sorted_latent_sums(index, s), sorted_weighted_rows(index, s, read), of_decoder)
    s = value_gradients(indices, offsets, decoder, g).masked_fill_(values == 0, 0)
    of_decoder = None if frozen else weighted_rows(values, indices, offsets, g, d_sae)
    sums = latent_sums(s, indices, offsets, d_sae)
    return EntryGradients(sums, weighted_rows(s, indices, offsets, read, d_sae), of_decoder)
