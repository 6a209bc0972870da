"""What shuffled streams share: chunks in bounded memory, each shuffled with a seed of its own, resumable at any batch.

A chunk's activations are shuffled and cut into batches; what is left over begins the next chunk. So the whole stream is
a function of (source, seed, batch size, tokens of a chunk), and a state of a few numbers and a tensor smaller than a
batch brings it back exactly. How many tokens a chunk holds hangs on the batch size, the bytes of a token and the kind
of device that trains, never on how much memory is free today: a seed is the same run on every machine.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations.ahead import Ahead
from saekit.activations.chunk import place_of, to_device
from saekit.activations.outliers import rows_that_stay

Batch = Mapping[str, Float[Tensor, "batch d"]]
CHUNK_TOKENS = 2**15
"""32 batches of USUAL_BATCH tokens. A chunk holds 32 batches of larger ones, but no more than the whole run, and as
many tokens as this of smaller ones."""
USUAL_BATCH = 1024
CHUNK_BYTES = {"cpu": 2**29, "cuda": 2**32}
"""At most, by the kind of device that trains: of 32 batches of 1,024 tokens of width 4,096 in float32, and of 932,000
tokens of width 2,304 in bfloat16. Twice as much is held where the next chunk is read beside the training."""
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


class Chunk(NamedTuple):
    """Activations by name; the rows in the order in which they are taken; how many batches they make; and the state
    that follows them."""

    columns: dict[str, Tensor]
    order: Tensor
    batches: int
    following: StreamState


class ShuffledStream(ABC):
    """Batches of activations at ``sites``, shuffled within chunks, for ever. ``state`` is where the next batch comes
    from; give it back to go on from there. ``left_out`` tokens so far are of a norm above ``max_norm_multiple`` times
    the median of their chunk (see outliers).

    device: the one that trains; chunks lie there (see chunk) and batches are gathered there.
    wanted: tokens of the run that it is read for, where that is known.
    ahead:  so many of the batches to come are read beside the training (see ahead); 0: all are read in turn.
    passes: held by whoever runs the model, from one of its passes to the next."""

    sites: list[str]
    widths: dict[str, int]
    max_norm_multiple: float | None = None
    left_out = 0
    device = torch.device("cpu")
    wanted: int | None = None
    ahead = 0
    passes: AbstractContextManager[Any] = nullcontext()

    def __init__(self, batch_size: int, seed: int, state: StreamState | None) -> None:
        self.batch_size, self.seed = check_batch_size(batch_size), seed
        self.state = state or StreamState()

    @property
    def models(self) -> Mapping[str, Any] | None:
        """By name, "" where there is one; None where activations were read before."""
        return None

    @abstractmethod
    def anew(self) -> ShuffledStream:
        """The same stream at its beginning, read in turn."""

    @property
    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """model, model_hash, processing and corpus."""

    @property
    @abstractmethod
    def token_bytes(self) -> int:
        """Of everything that a chunk holds of a token."""

    @abstractmethod
    def read(self, begun: StreamState, stop: threading.Event) -> tuple[dict[str, Tensor], int]:
        """The activations of the chunk that begins there, what was carried first, and where the next one begins.
        Raises Stopped soon after ``stop`` was set."""

    @cached_property
    def chunk_tokens(self) -> int:
        """Tokens that a chunk holds at least: 32 batches where CHUNK_BYTES allows, and a batch anyway. A run that goes
        on sets it to what it began with."""
        batches = CHUNK_TOKENS * self.batch_size // USUAL_BATCH
        wanted = max(CHUNK_TOKENS, batches if self.wanted is None else min(batches, self.wanted))
        most = CHUNK_BYTES.get(self.device.type, CHUNK_BYTES["cpu"])
        return max(self.batch_size, min(wanted, most // self.token_bytes))

    @cached_property
    def place(self) -> torch.device:
        """Where chunks lie."""
        return place_of(2 * self.chunk_tokens * self.token_bytes, self.device)

    def __iter__(self) -> Iterator[Batch]:
        left = self.ahead
        with closing(Ahead(self._chunk, self.device)) as ahead:
            while True:
                begun = self.state
                chunk = ahead.given(begun)
                left -= chunk.batches - begun.batches
                if left > 0:
                    ahead.begin(chunk.following)
                batches = self._batches(begun, chunk)
                del chunk  # its memory is free before the next one is read in turn
                yield from batches

    def _chunk(self, begun: StreamState, stop: threading.Event) -> Chunk:
        """The chunk that begins there, ready to be taken from."""
        columns, documents = self.read(begun, stop)
        stay = rows_that_stay(columns, self.sites, self.max_norm_multiple)
        total = len(columns[self.sites[0]])
        n = total if stay is None else len(stay)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + begun.chunk)
        order = torch.randperm(n, generator=generator)
        whole = n // self.batch_size
        if not whole:  # too many were left out
            order = torch.arange(n)
        order = order.to(self.place) if stay is None else stay[order.to(stay.device)]
        rest = order[whole * self.batch_size :]
        carried = {name: column.index_select(0, rest) for name, column in columns.items()}
        following = StreamState(documents, begun.chunk + 1, 0, carried, begun.left_out + total - n)
        return Chunk(columns, order, whole, following)

    def _batches(self, begun: StreamState, chunk: Chunk) -> Iterator[Batch]:
        """The batches of a chunk, from ``begun.batches`` on; moves the state as it goes."""
        columns, order, whole, following = chunk
        for made in (order, *columns.values()):
            if made.is_cuda:  # made on the stream of a thread: its memory is not free before this one is done with it
                made.record_stream(torch.cuda.current_stream(made.device))
        self.left_out = following.left_out
        if not whole:
            self.state = following
        for b in range(begun.batches, whole):
            picked = order[b * self.batch_size : (b + 1) * self.batch_size]
            self.state = StreamState(begun.documents, begun.chunk, b + 1, begun.carried, begun.left_out)
            if b + 1 == whole:
                self.state = following
            taken = {name: column.index_select(0, picked) for name, column in columns.items()}
            yield {name: to_device(x, self.device).float() for name, x in taken.items()}


def check_batch_size(batch_size: int) -> int:
    """The size, or ValueError where it is below 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}.")
    return batch_size
