"""The streams that training reads of a model on text: single tokens, shuffled; and whole rows.

Documents are read in order; a chunk of them is run through the model, and its counted tokens are shuffled (see
shuffled). Processes that train together (torchrun) take turns at the forward passes of a chunk and give each other what
they read, so that each of them holds the chunk that one process alone would hold.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.activations.ahead import Stopped
from saekit.activations.given import GivenTokens
from saekit.activations.outliers import norms, usual
from saekit.activations.reader import Item, TextReader
from saekit.activations.shuffled import Batch, ShuffledStream, StreamState, check_batch_size
from saekit.activations.source import Readable
from saekit.activations.tokens import TokenRows
from saekit.corpora import Corpus
from saekit.engines import processes
from saekit.models import ROWS_AT_ONCE

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

EMPTY_DOCUMENTS = 2**16
"""Documents without a token in a row, after which an endless corpus is given up; of a finite one, a whole pass."""
ROWS = ("tokens", "mask", "predicts")
"""Names under which rows come beside their columns."""


class _OfText:
    """What both streams have of their reader, and the order in which they read its documents."""

    ahead = 0

    def __init__(
        self,
        model: TransformerBridge | Mapping[str, TransformerBridge],
        sites: Sequence[str],
        source: Readable,
        batch_size: int,
        seed: int = 0,
        state: StreamState | None = None,
        max_norm_multiple: float | None = None,
        device: torch.device | str = "cpu",
        **reading: Any,
    ) -> None:
        self.batch_size, self.seed, self.state = check_batch_size(batch_size), seed, state or StreamState()
        self.device = torch.device(device)
        self.reader = TextReader(model, sites, source, **reading)
        self.sites, self.widths = list(sites), self.reader.widths
        self.max_norm_multiple, self.left_out = max_norm_multiple, 0
        self._reading: tuple[int, Iterator[Any]] | None = None  # an open source, and the document that comes next

    def anew(self) -> Any:
        """The same stream at its beginning, read in turn."""
        again = copy.copy(self)
        again.state, again._reading = StreamState(), None
        again.ahead = 0
        return again

    @property
    def source(self) -> Corpus | GivenTokens:
        return self.reader.source

    @property
    def models(self) -> Mapping[str, Any] | None:
        return self.reader.models

    @property
    def provenance(self) -> dict[str, Any]:
        return self.reader.provenance

    def documents(self, skip: int) -> Iterator[Item]:
        """From the ``skip``-th on; a finite source begins again in a new order, seeded by (seed, pass)."""
        source = self.source
        if isinstance(source, Corpus) and source.endless:
            yield from itertools.islice(iter(source), skip, None)
            return
        items: list[Any] = list(range(len(source))) if isinstance(source, GivenTokens) else list(source)
        reading, position = divmod(skip, len(items))
        while True:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + 7_919 + reading)
            for i in torch.randperm(len(items), generator=generator)[position:].tolist():
                yield items[i]
            reading, position = reading + 1, 0

    @property
    def most_empty(self) -> int:
        return EMPTY_DOCUMENTS if self.reader.endless else len(self.source)

    def none_to_count(self, documents: int) -> ValueError:
        return ValueError(f"there is no token to count: {documents} documents in a row are empty.")

    def ended(self, documents: int) -> ValueError:
        assert isinstance(self.source, Corpus)
        return ValueError(f"corpus {self.source.name!r} calls itself endless but ended after {documents} documents.")


class ActivationStream(_OfText, ShuffledStream):
    """Batches of activations of a model at ``sites``, shuffled within chunks, for ever.

    An endless corpus is read on; a finite one is read again in a new seeded order. ``state`` is where the next batch
    comes from; give it back to go on from there. Raises ValueError for an empty corpus or one without a token to count,
    an endless one that ends, a batch size below 1, an unknown site, and NaN or infinite activations.
    """

    def dtype_of(self, name: str) -> torch.dtype:
        """A column's in a chunk: that of activations is their model's own half precision, in which nothing of them is
        lost; else float32."""
        site = next((site for site in self.reader.sites if site == name), None)
        dtype = None if site is None else next(self.reader.models[site.model or ""].parameters()).dtype
        return dtype if dtype in (torch.float16, torch.bfloat16) else torch.float32

    @property
    def token_bytes(self) -> int:
        """Of its columns."""
        return sum(width * self.dtype_of(name).itemsize for name, width in self.reader.columns().items())

    def read(self, begun: StreamState, stop: threading.Event) -> tuple[dict[str, Tensor], int]:
        """Documents until their tokens, and those carried, fill a chunk; processes take turns at the model."""
        parts: list[TokenRows] = []
        read: list[Any] = []
        counted, documents = 0, begun.documents
        pending: list[Any] = []
        # Opening a source anew means to skip, that is to make again, everything before: so it stays open.
        reading, self._reading = self._reading, None  # an interrupted reading must not be gone on with
        items = reading[1] if reading and reading[0] == begun.documents else self.documents(begun.documents)
        for item in items:
            pending.append(item)
            documents += 1
            if len(pending) == ROWS_AT_ONCE:
                rows = self.reader.rows(pending)
                if rows.mask.any():
                    parts.append(replace(rows, documents=rows.documents + len(read)))
                read += pending
                pending = []
                counted += int(rows.mask.sum())
                if counted >= self.chunk_tokens:
                    break
                if not counted and documents - begun.documents >= self.most_empty:
                    raise self.none_to_count(documents - begun.documents)
                if stop.is_set():
                    raise Stopped
        else:
            raise self.ended(documents)
        found = self._run(TokenRows.joined(parts), read, begun, stop)
        self._reading = (documents, items)
        return found, documents

    def _run(self, rows: TokenRows, items: list[Any], begun: StreamState, stop: threading.Event) -> dict[str, Tensor]:
        """What was carried, and the columns of the rows' counted tokens, in their order, in memory that is made once;
        rows of like length run through the model together."""
        carried = len(next(iter(begun.carried.values()), ()))
        places = rows.mask.flatten().cumsum(0).view(rows.mask.shape) - 1 + carried
        size = carried + int(rows.mask.sum())
        columns = {
            name: torch.empty(size, width, dtype=self.dtype_of(name), device=self.place)
            for name, width in self.reader.columns().items()
        }
        for name, x in begun.carried.items():
            columns[name][:carried] = x
        turns = rows.passes(ROWS_AT_ONCE if self.reader.gradients else None)
        pieces: list[tuple[Tensor, dict[str, Tensor]]] = []  # where they belong, and what was read
        for turn, (which, part) in enumerate(turns):
            if stop.is_set():
                raise Stopped
            if turn % processes.count() == processes.number():
                batches = (begun.documents + part.documents) // ROWS_AT_ONCE
                with self.passes:
                    found = self.reader.read(part, items, batches)
                piece = {name: h[part.mask].to(columns[name].dtype) for name, h in found.items()}
            else:
                tokens = int(part.mask.sum())
                piece = {name: torch.empty(tokens, x.shape[1], dtype=x.dtype) for name, x in columns.items()}
            pieces.append((places[which, : part.tokens.shape[1]][part.mask], piece))
            if processes.count() == 1:  # else all have run theirs before any waits for another's
                _place(pieces, turn, columns)
        _place(pieces, 0, columns)
        return columns


class RowStream(_OfText):
    """Batches of whole rows of text that count ``batch_size`` tokens together, in the corpus's order, for ever: beside
    the columns [row, position, d] the "tokens", the "mask" of counted ones and where the model "predicts" one.

    What the last row has beyond the batch's size is not counted, nor a token whose norm is above ``max_norm_multiple``
    times the median of the batch (see outliers)."""

    def __iter__(self) -> Iterator[Batch]:
        documents = self.documents(self.state.documents)
        while True:
            rows, items, taken = self._take(documents)
            parts = rows.split(ROWS_AT_ONCE)
            read = [self.reader.read(p, items, torch.full_like(p.documents, self.state.batches)) for p in parts]
            columns = {name: torch.cat([part[name] for part in read]) for name in read[0]}
            mask, begun = rows.mask, self.state
            stay = usual({site: norms(columns[site][mask]) for site in self.sites}, self.max_norm_multiple)
            if stay is not None:
                mask = mask.masked_scatter(mask, stay.cpu())
            self.left_out = begun.left_out + int(rows.mask.sum() - mask.sum())
            self.state = StreamState(begun.documents + taken, 0, begun.batches + 1, left_out=self.left_out)
            yield columns | dict(zip(ROWS, (rows.tokens, mask, rows.predicts & mask), strict=True))

    def _take(self, documents: Iterator[Item]) -> tuple[TokenRows, list[Item], int]:
        """As many documents as count a batch, and how many of them there are."""
        items: list[Item] = []
        counted = 0
        for item in documents:
            items.append(item)
            counted += int(self.reader.rows([item]).mask.sum())
            if counted >= self.batch_size:
                return self.reader.rows(items).first(self.batch_size), items, len(items)
            if not counted and len(items) >= self.most_empty:
                raise self.none_to_count(len(items))
        raise self.ended(self.state.documents + len(items))


def _place(pieces: list[tuple[Tensor, dict[str, Tensor]]], first: int, columns: Mapping[str, Tensor]) -> None:
    """Pieces of all processes, which took turns from ``first`` on, into the columns; none is left."""
    for turn, (where, piece) in enumerate(pieces, first):
        for name, x in piece.items():
            given = processes.from_process(x, turn % processes.count())
            columns[name][where.to(columns[name].device)] = given.to(columns[name].device)
    pieces.clear()
