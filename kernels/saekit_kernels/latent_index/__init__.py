"""The entries of sparse codes gathered by latent, for everything that is summed over a latent's firings.

On a GPU too it is torch's own sort: of one long int32 vector that is the vendor's radix sort, some 50 MB of traffic for
524,288 entries, far below what the gathers that use the index cost. A counting sort of our own could only equal it.
"""

from __future__ import annotations

from saekit_kernels.latent_index.reference import LatentIndex, by_latent, latents_of

__all__ = ["LatentIndex", "by_latent", "latents_of"]
