"""The streams that training reads: a model's activations on text, and an array of one's own.

Documents are read in order; a chunk of them is run through the model, and its counted tokens are shuffled (see
shuffled). Processes that train together (torchrun) take turns at the forward passes of a chunk and give each other what
they read, so that each of them holds the chunk that one process alone would hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations.finite import check_finite
from saekit.activations.shuffled import Batch, ShuffledStream, StreamState, check_batch_size
from saekit.activations.tokens import tokenize
from saekit.corpora import Corpus, load_corpus
from saekit.engines import processes
from saekit.models import ROWS_AT_ONCE, check_site, describe_model, forward, joined, joined_width

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

EMPTY_DOCUMENTS = 2**16
"""Documents without a token in a row, after which an endless corpus is given up; of a finite one, a whole pass."""


class ActivationStream(ShuffledStream):
    """Batches of activations of a model at ``sites``, shuffled within chunks, for ever.

    An endless corpus is read on; a finite one is read again in a new seeded order. ``state`` is where the next batch
    comes from; give it back to go on from there. Raises ValueError for an empty corpus or one without a token to count,
    an endless one that ends, a batch size below 1, an unknown site, and NaN or infinite activations.
    """

    def __init__(
        self,
        model: TransformerBridge,
        sites: Sequence[str],
        source: Corpus | Sequence[str] | Tensor,
        batch_size: int,
        seed: int = 0,
        state: StreamState | None = None,
    ) -> None:
        super().__init__(batch_size, seed, state)
        self.model = model
        self.sites = [check_site(model, site) for site in sites]
        self.widths = {site: joined_width(model, site) for site in sites}
        if isinstance(source, Tensor):
            self.source: Corpus | Tensor = source
            empty = not source.numel()
        else:
            self.source = source if isinstance(source, Corpus) else load_corpus(source)
            empty = next(iter(self.source), None) is None
        if empty:
            raise ValueError("the corpus is empty: there is nothing to train on.")
        self.endless = isinstance(self.source, Corpus) and self.source.endless
        self._reading: tuple[int, Iterator[Any]] | None = None  # an open source, and the document that comes next

    @property
    def provenance(self) -> dict[str, Any]:
        corpus = {"corpus": self.source.provenance} if isinstance(self.source, Corpus) else {}
        return describe_model(self.model) | corpus

    def read(self, begun: StreamState) -> tuple[dict[str, Tensor], int]:
        pieces = {site: [begun.carried[site]] if site in begun.carried else [] for site in self.sites}
        turns: list[int] = []  # which process runs the model for each piece after the carried one
        counted, documents = 0, begun.documents
        most_empty = EMPTY_DOCUMENTS if self.endless else len(self.source)
        pending: list[Any] = []
        # Opening a source anew means to skip, that is to make again, everything before: so it stays open.
        reading, self._reading = self._reading, None  # an interrupted reading must not be gone on with
        texts = reading[1] if reading and reading[0] == begun.documents else self._texts(begun.documents)
        for text in texts:
            pending.append(text)
            documents += 1
            if len(pending) == ROWS_AT_ONCE:
                counted += self._run(pending, pieces, documents, turns)
                pending = []
                if counted >= self.chunk_tokens:
                    break
                if not counted and documents - begun.documents >= most_empty:
                    raise ValueError(
                        f"there is no token to count: {documents - begun.documents} documents in a row are empty."
                    )
        else:
            assert isinstance(self.source, Corpus)
            raise ValueError(f"corpus {self.source.name!r} calls itself endless but ended after {documents} documents.")
        self._reading = (documents, texts)
        return {site: torch.cat(_exchanged(parts, turns)) for site, parts in pieces.items()}, documents

    def _run(self, pending: list[Any], pieces: dict[str, list[Tensor]], documents: int, turns: list[int]) -> int:
        texts = torch.stack(pending) if isinstance(self.source, Tensor) else pending
        rows = tokenize(self.model, texts)
        if not rows.mask.any():
            return 0
        for part in rows.split(ROWS_AT_ONCE):
            turns.append(len(turns) % processes.count())
            if turns[-1] != processes.number():
                for site in self.sites:
                    pieces[site].append(torch.empty(int(part.mask.sum()), self.widths[site]))
                continue
            for site, h in forward(self.model, part.tokens, self.sites, lengths=part.lengths).kept.items():
                flat = joined(h, site).cpu()[part.mask].float()
                check_finite(flat, site, (documents - 1) // ROWS_AT_ONCE)
                pieces[site].append(flat)
        return int(rows.mask.sum())

    def _texts(self, skip: int) -> Iterator[Any]:
        """Texts from the ``skip``-th on; a finite source begins again in a new order, seeded by (seed, pass)."""
        if self.endless:
            yield from (document.text for document in itertools.islice(iter(self.source), skip, None))
            return
        items = list(self.source) if isinstance(self.source, Tensor) else [d.text for d in self.source]
        reading, position = divmod(skip, len(items))
        while True:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + 7_919 + reading)
            for i in torch.randperm(len(items), generator=generator)[position:].tolist():
                yield items[i]
            reading, position = reading + 1, 0


def _exchanged(pieces: list[Tensor], turns: list[int]) -> list[Tensor]:
    """The pieces of all processes; what was carried into the chunk, a first piece without a turn, all have."""
    carried = len(pieces) - len(turns)
    return [
        *pieces[:carried],
        *(processes.from_process(piece, turn) for piece, turn in zip(pieces[carried:], turns, strict=True)),
    ]


class ArrayStream:
    """Batches of an array [n, d] of one's own, every pass in a new seeded order; what is left joins the next."""

    sites = ("x",)

    def __init__(
        self, x: Float[Tensor, "n d"], batch_size: int, seed: int = 0, state: StreamState | None = None
    ) -> None:
        if x.ndim != 2 or not len(x):
            raise ValueError(f"activations of one's own are [n, d] with n ≥ 1, found shape {tuple(x.shape)}.")
        self.batch_size = check_batch_size(batch_size)
        for start in range(0, len(x), 2**16):
            check_finite(x[start : start + 2**16], "x", start // batch_size)
        self.x, self.seed = x, seed
        self.widths = {"x": x.shape[1]}
        self.state = state or StreamState()

    @property
    def provenance(self) -> dict[str, Any]:
        return {"model": None, "model_hash": None, "processing": "none"}

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.x)
        orders: dict[int, Tensor] = {}
        while True:
            start = self.state.batches * self.batch_size
            picked = torch.arange(start, start + self.batch_size)
            readings, places = picked // n, picked % n
            for reading in range(int(readings[0]), int(readings[-1]) + 1):
                if reading not in orders:
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + reading)
                    orders[reading] = torch.randperm(n, generator=generator)
            rows = torch.cat([orders[r][places[readings == r]] for r in range(int(readings[0]), int(readings[-1]) + 1)])
            orders = {r: order for r, order in orders.items() if r >= int(readings[-1])}
            self.state = StreamState(batches=self.state.batches + 1)
            yield {"x": self.x[rows].float()}
