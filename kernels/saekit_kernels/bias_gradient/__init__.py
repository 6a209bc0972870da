"""The gradient of the bias that a dictionary subtracts from its input and adds to its output, encoder side."""

from __future__ import annotations

from saekit_kernels.bias_gradient.reference import bias_gradient

__all__ = ["bias_gradient"]
