"""The entries of sparse codes gathered by latent, for everything that is summed over a latent's firings."""

from __future__ import annotations

from saekit_kernels.latent_index.reference import LatentIndex, by_latent

__all__ = ["LatentIndex", "by_latent"]
