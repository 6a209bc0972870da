"""Sparse operations for dictionaries: codes, encoding, exact top-k selection, decoding. Knows torch alone."""

from __future__ import annotations

from saekit_kernels.decode import decode
from saekit_kernels.dispatch import path_for, using
from saekit_kernels.encode import encode_above, encode_batch_top_k, encode_top_k
from saekit_kernels.reconstruction import AuxK, DeadRows, reconstruction_loss, reconstruction_rows, row_gradients
from saekit_kernels.sparse_codes import SparseCodes
from saekit_kernels.top_k import top_k

__all__ = [
    "AuxK",
    "DeadRows",
    "SparseCodes",
    "decode",
    "encode_above",
    "encode_batch_top_k",
    "encode_top_k",
    "path_for",
    "reconstruction_loss",
    "reconstruction_rows",
    "row_gradients",
    "top_k",
    "using",
]
