"""The bias gradient on a GPU: torch's own product, so no kernel is written here.

One read of the encoder's rows is the least there is, and the vendor's matrix-vector product is bound by just that read.
A kernel of ours would add launches (partial sums over latents, then their sum) and could only equal it.
"""

from __future__ import annotations

from saekit_kernels.bias_gradient.reference import bias_gradient

__all__ = ["bias_gradient"]
