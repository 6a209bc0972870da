"""The index by latent on a GPU: torch's own sort, so no kernel is written here.

torch.sort of one long int32 vector is the vendor's radix sort, which reads and writes the 12 bytes of an entry a few
times: for 524,288 entries (8,192 tokens, k = 64) some 50 MB in all, far below what the gathers that use the index
cost. A counting sort of our own would need as many launches (count, scan, stable ranks) and could only equal it. The
two binary searches are one launch each, and nothing waits for the host.
"""

from __future__ import annotations

from saekit_kernels.latent_index.reference import LatentIndex, by_latent

__all__ = ["LatentIndex", "by_latent"]
