"""Firings met token after token, kept in a temporary file, and read back latent by latent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

KEPT = 2**20
"""Firings in memory before they are sorted and written."""
READ = 2**19
"""Firings that are read back at once, unless one latent alone has more."""


class _Piece(NamedTuple):
    starts: Int[np.ndarray, " latents_and_one"]
    place_at: int  # where in the file its places and values begin
    value_at: int


class Spilled:
    """The firings of some latents. The file has no name, so that nothing stays behind."""

    def __init__(self, latents: int) -> None:
        """Latents are numbered from 0."""
        self.latents = latents
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close()
        self.pieces: list[_Piece] = []
        self.waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(
        self, latent: Int[np.ndarray, " firing"], place: Int[np.ndarray, " firing"], value: Float[np.ndarray, " firing"]
    ) -> None:
        """Some more firings: which latent, at which token, how strong; kept in float32."""
        self.waiting.append((latent.astype(np.int32), place.astype(np.int32), value.astype(np.float32)))
        if sum(len(part[0]) for part in self.waiting) >= KEPT:
            self._write()

    def parts(self, most: int) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
        """first, last, then latent, place and value of the firings of latents first … last − 1; at most so many."""
        self._write()
        starts = sum((piece.starts for piece in self.pieces), np.zeros(self.latents + 1, np.int64))
        first = 0
        while first < self.latents:
            enough = int(np.searchsorted(starts, starts[first] + READ, side="right")) - 1
            last = min(max(enough, first + 1), first + most, self.latents)
            yield first, last, *self._read(first, last)
            first = last

    def close(self) -> None:
        """The file is gone."""
        self.file.close()

    def _write(self) -> None:
        if not self.waiting:
            return
        latent, place, value = (np.concatenate(column) for column in zip(*self.waiting, strict=True))
        self.waiting = []
        order = np.argsort(latent, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(latent, minlength=self.latents))])
        place_at = self.file.seek(0, 2)
        self.file.write(place[order].tobytes())
        self.pieces.append(_Piece(starts, place_at, self.file.tell()))
        self.file.write(value[order].tobytes())

    def _read(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        latents, places, values = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        for piece in self.pieces:
            begin, end = int(piece.starts[first]), int(piece.starts[last])
            latents.append(np.repeat(np.arange(first, last, dtype=np.int32), np.diff(piece.starts[first : last + 1])))
            places.append(self._array(piece.place_at, np.int32, begin, end).astype(np.int64))
            values.append(self._array(piece.value_at, np.float32, begin, end))
        return np.concatenate(latents), np.concatenate(places), np.concatenate(values)

    def _array(self, at: int, dtype: type, begin: int, end: int) -> np.ndarray:
        size = np.dtype(dtype).itemsize
        self.file.seek(at + begin * size)
        return np.frombuffer(self.file.read((end - begin) * size), dtype)
