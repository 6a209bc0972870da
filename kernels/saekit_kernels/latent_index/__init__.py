"""The entries of sparse codes gathered by latent, for everything that is summed over a latent's firings.

On a GPU too it is torch's own sort: of one long int32 vector that is the vendor's radix sort, some 50 MB of traffic for
524,288 entries, far below what the gathers that use the index cost. A counting sort of our own could only equal it.
"""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from saekit_kernels.dispatch import path_for
from saekit_kernels.latent_index import cpu, reference
from saekit_kernels.latent_index.reference import LatentIndex, latents_of

__all__ = ["LatentIndex", "by_latent", "latents_of"]


def by_latent(indices: Int[Tensor, " entries"], offsets: Int[Tensor, " rows_and_one"], d_sae: int) -> LatentIndex:
    """The entries sorted by latent, of equal latents in the codes' order, so that the index is the same every time."""
    return (cpu if path_for(indices) == "cpu" else reference).by_latent(indices, offsets, d_sae)
