"""Whom a latent resembles: by its decoder row, and by when it fires.

cosine_ij = d_i · d_j / (|d_i| |d_j|), over the whole dictionary. φ_ij is the correlation of "both fire on this token",
φ = (n n_ij − n_i n_j) / √(n_i (n − n_i) n_j (n − n_j)), with counts over n counted tokens; it is undefined where one of
them never or always fires.
"""

from __future__ import annotations

import numpy as np
import torch
from saekit_kernels.top_k import top_k_rows
from scipy import sparse
from torch import Tensor

from saekit.features.building.chunks import Readings
from saekit.features.schema import COACTIVE_TOKENS

MOST = 8  # of each kind


class Neighbours:
    """Finds the nearest of each latent. φ is measured on the first `tokens` counted tokens, in whole chunks."""

    def __init__(self, directions: Tensor, readings: Readings, tokens: int = COACTIVE_TOKENS) -> None:
        self.unit = torch.nn.functional.normalize(directions.detach().float().cpu(), dim=1)
        self.tokens, self.fires = 0, []
        firings, ones = np.zeros(len(directions), np.int64), np.empty(0, np.int32)
        last = None
        for chunk in readings.chunks:
            begun = int(chunk["chunk"][0]) if "chunk" in chunk else None
            if self.tokens >= tokens and (begun is None or begun != last):  # one that was stopped is read in parts
                break
            last = begun
            self.tokens += int(chunk["counted"].sum())
            firings += np.diff(chunk["starts"])
            # Places stay on the disk, offsets are as narrow as they are, and all ones are the same: it is most of
            # what building holds.
            if len(ones) < len(chunk["place"]):
                ones = np.ones(len(chunk["place"]), np.int32)
            mine = ones[: len(chunk["place"])]
            shape = (len(chunk["token"]), len(directions))
            by_latent = sparse.csc_array((mine, chunk["place"], chunk["starts"].astype(np.int32)), shape=shape)
            by_token = by_latent.tocsr()
            by_token.data = mine
            self.fires.append((by_latent, by_token))
        self.firings = firings.astype(np.float64)

    def of(self, first: int, last: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        """For latents first … last − 1: the MOST nearest by cosine and the MOST of largest φ > 0, by cosine; the
        cosine and the φ of each."""
        similar = self._similar(first, last)
        together = sparse.csr_array((last - first, len(self.unit)), dtype=np.int32)
        for by_latent, by_token in self.fires:
            together = together + by_latent[:, first:last].T @ by_token
        together = together.tocsr()
        together.sort_indices()
        found: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]] = ([], [], [])
        for row in range(last - first):
            part = slice(together.indptr[row], together.indptr[row + 1])
            phi = self._phi(first + row, together.indices[part], together.data[part])
            phi = np.where((together.indices[part] == first + row) | ~(phi > 0), -1.0, phi)
            nearest = np.lexsort((together.indices[part], -phi))[:MOST]
            coactive = together.indices[part][nearest[phi[nearest] > 0]]
            both = np.union1d(similar[row], coactive).astype(np.int32)
            at = np.minimum(np.searchsorted(together.indices[part], both), max(0, len(together.indices[part]) - 1))
            count = np.zeros(len(both), np.int64)
            if len(together.indices[part]):
                count = np.where(together.indices[part][at] == both, together.data[part][at], 0)
            cosine = (self.unit[both] @ self.unit[first + row]).numpy()
            order = np.lexsort((both, -cosine))
            values = (both, cosine, self._phi(first + row, both, count).astype(np.float32))
            for kept, value in zip(found, values, strict=True):
                kept.append(value[order])
        return found

    def _similar(self, first: int, last: int) -> np.ndarray:
        most = min(MOST, len(self.unit) - 1)
        found = []
        for start in range(first, last, 512):
            stop = min(start + 512, last)
            cosine = self.unit[start:stop] @ self.unit.T
            cosine[torch.arange(stop - start), torch.arange(start, stop)] = -torch.inf
            found.append(top_k_rows(cosine, most)[1].numpy() if most else np.empty((stop - start, 0), np.int32))
        return np.concatenate(found)

    def _phi(self, latent: int, others: np.ndarray, both: np.ndarray) -> np.ndarray:
        n, a, b = float(self.tokens), self.firings[latent], self.firings[others]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (n * both - a * b) / np.sqrt(a * (n - a) * b * (n - b))
