"""The chunks that a pass over the corpus leaves on disk, written whole and read back mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from saekit.activations import TokenRows
from saekit.files import write_atomically


def write_chunk(folder: Path, number: int, tensors: dict[str, Tensor]) -> str:
    """Write a chunk whole or not at all; returns the name of its file."""
    file = f"chunk-{number:05d}.safetensors"
    write_atomically(folder / file, lambda path: save_file({name: t.contiguous() for name, t in tensors.items()}, path))
    return file


class Readings:
    """The chunks of a finished pass, mapped from the disk."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.chunks: list[dict[str, np.ndarray]] = []
        for file in files:
            with safe_open(file, framework="pt") as opened:
                self.chunks.append({name: opened.get_tensor(name).numpy() for name in opened.keys()})  # noqa: SIM118
        sizes = [len(chunk["token"]) for chunk in self.chunks]
        self.bases = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    @property
    def places(self) -> int:
        """Tokens that were read, those that are not counted too."""
        return int(self.bases[-1])

    @property
    def starts(self) -> np.ndarray:
        """Firings of each latent, all chunks together, as [d_sae + 1] offsets."""
        return np.sum([chunk["starts"] for chunk in self.chunks], axis=0)

    def take(self, name: str, places: np.ndarray) -> np.ndarray:
        """A column at some places; row_first and row_last come as places of the whole store."""
        if len(self.chunks) == 1:
            return self.chunks[0][name][places]
        is_place = name in ("row_first", "row_last")
        which = np.searchsorted(self.bases, places, side="right") - 1
        found = np.empty(len(places), np.int64 if is_place else self.chunks[0][name].dtype)
        for c in np.unique(which):
            here = which == c
            column = self.chunks[c][name][places[here] - self.bases[c]]
            found[here] = column + self.bases[c] if is_place else column
        return found

    def firings(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """latent, place and value of the firings of latents first … last − 1, sorted by latent, then place."""
        latents, places, values = [], [], []
        for chunk, base in zip(self.chunks, self.bases[:-1], strict=True):
            starts = chunk["starts"][first : last + 1]
            part = slice(int(starts[0]), int(starts[-1]))
            latents.append(np.repeat(np.arange(first, last, dtype=np.int32), np.diff(starts)))
            places.append(chunk["place"][part].astype(np.int64) + base)
            values.append(chunk["value"][part])
        latent, place, value = (np.concatenate(parts) for parts in (latents, places, values))
        if len(self.chunks) > 1:
            order = torch.sort(torch.from_numpy(latent), stable=True).indices.numpy()
            latent, place, value = latent[order], place[order], value[order]
        return latent, place, value


def first_rows(readings: Readings, rows: int = 16) -> TokenRows:
    """The first rows of the corpus, as the model got them."""
    chunk = readings.chunks[0]
    firsts = np.unique(chunk["row_first"])[:rows]
    lengths = chunk["row_last"][firsts] - firsts + 1
    tokens = torch.zeros(len(firsts), int(lengths.max()), dtype=torch.long)
    mask = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, (first, length) in enumerate(zip(firsts, lengths, strict=True)):
        tokens[row, :length] = torch.from_numpy(chunk["token"][first : first + length].astype(np.int64))
        mask[row, :length] = torch.from_numpy(chunk["counted"][first : first + length])
    return TokenRows(tokens, mask, torch.arange(len(firsts)), torch.zeros_like(tokens), None, {})
