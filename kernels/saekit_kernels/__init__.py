"""Sparse operations for dictionaries: codes, exact top-k selection, decoding. Knows torch alone."""

from __future__ import annotations

from saekit_kernels.decode import decode
from saekit_kernels.sparse_codes import SparseCodes
from saekit_kernels.top_k import top_k

__all__ = ["SparseCodes", "decode", "top_k"]
