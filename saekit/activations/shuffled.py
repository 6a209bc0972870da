"""What shuffled streams share: chunks in bounded memory, each shuffled with a seed of its own, resumable at any batch.

A chunk's activations are shuffled and cut into batches; what is left over begins the next chunk. So the whole stream is
a function of (source, seed), and a state of three numbers and a tensor smaller than a batch brings it back exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations.outliers import without_outliers

Batch = Mapping[str, Float[Tensor, "batch d"]]
CHUNK_BYTES = 128 * 2**20
CHUNK_TOKENS = 2**15
LABELS, GRADIENT = "labels", "gradient "
"""Names under which a stream gives what is no activation: the labels, and gradients before their site's name."""


@dataclass
class StreamState:
    """Where a stream stands: the document (or shard) its chunk began at, the batches taken from it, what was carried
    into it; and how many tokens of huge norm were left out before it."""

    documents: int = 0
    chunk: int = 0
    batches: int = 0
    carried: dict[str, Tensor] = field(default_factory=dict)
    left_out: int = 0


class ShuffledStream(ABC):
    """Batches of activations at ``sites``, shuffled within chunks, for ever. ``state`` is where the next batch comes
    from; give it back to go on from there. ``left_out`` tokens so far are of a norm above ``max_norm_multiple`` times
    the median of their chunk (see outliers)."""

    sites: list[str]
    widths: dict[str, int]
    max_norm_multiple: float | None = None
    left_out = 0

    def __init__(self, batch_size: int, seed: int, state: StreamState | None) -> None:
        self.batch_size, self.seed = check_batch_size(batch_size), seed
        self.state = state or StreamState()

    @property
    def models(self) -> Mapping[str, Any] | None:
        """By name, "" where there is one; None where activations were read before."""
        return None

    @abstractmethod
    def anew(self) -> ShuffledStream:
        """The same stream at its beginning."""

    @property
    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """model, model_hash, processing and corpus."""

    @abstractmethod
    def read(self, begun: StreamState) -> tuple[dict[str, Tensor], int]:
        """The activations of the chunk that begins there, what was carried first, and where the next one begins."""

    @property
    def chunk_tokens(self) -> int:
        """Tokens that a chunk holds at least: bounded by memory, at least a batch."""
        return max(self.batch_size, min(CHUNK_TOKENS, CHUNK_BYTES // (4 * sum(self.widths.values()))))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield from self._chunk()

    def _chunk(self) -> Iterator[Batch]:
        """The batches of one chunk, from ``state.batches`` on; moves the state as it goes."""
        begun = self.state
        read, documents = self.read(begun)
        x, left_out = without_outliers(read, self.sites, self.max_norm_multiple)
        self.left_out = begun.left_out + left_out
        n = len(x[self.sites[0]])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + begun.chunk)
        order = torch.randperm(n, generator=generator)
        whole = n // self.batch_size
        if not whole:  # too many were left out
            self.state = StreamState(documents, begun.chunk + 1, 0, x, self.left_out)
        for b in range(begun.batches, whole):
            picked = order[b * self.batch_size : (b + 1) * self.batch_size]
            self.state = StreamState(begun.documents, begun.chunk, b + 1, begun.carried, begun.left_out)
            if b + 1 == whole:
                rest = order[whole * self.batch_size :]
                carried = {name: column[rest].clone() for name, column in x.items()}
                self.state = StreamState(documents, begun.chunk + 1, 0, carried, self.left_out)
            yield {name: column.index_select(0, picked).float() for name, column in x.items()}


def check_batch_size(batch_size: int) -> int:
    """The size, or ValueError where it is below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}.")
    return batch_size
