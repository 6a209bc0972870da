"""The largest pre-activations of a whole batch (BatchTopK, Bussmann et al. 2024, arXiv 2412.06410)."""

from __future__ import annotations
