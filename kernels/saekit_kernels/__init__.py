"""Sparse operations for dictionaries: codes, encoding, exact top-k selection, decoding. Knows torch alone."""

from __future__ import annotations

from saekit_kernels.decode import decode
from saekit_kernels.dispatch import path_for, using
from saekit_kernels.encode import encode_above, encode_batch_top_k, encode_top_k
from saekit_kernels.reconstruction import AuxK, reconstruction_loss
from saekit_kernels.sparse_codes import SparseCodes
from saekit_kernels.top_k import top_k

__all__ = [
    "AuxK",
    "SparseCodes",
    "decode",
    "encode_above",
    "encode_batch_top_k",
    "encode_top_k",
    "path_for",
    "reconstruction_loss",
    "top_k",
    "using",
]
