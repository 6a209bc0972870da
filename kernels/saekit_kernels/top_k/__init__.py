"""Exact top-k selection of pre-activations (Gao et al. 2024, arXiv 2406.04093): z = ReLU(top-k of u)."""

from __future__ import annotations

from saekit_kernels.top_k.reference import top_k

__all__ = ["top_k"]
