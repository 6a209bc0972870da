"""The first half of building a store: one pass over the corpus, kept as chunks on disk.

A chunk holds whole documents: their tokens, the firings of every latent sorted by latent, the labelled concepts of each
token, and the near misses seen so far. It appears whole and is then named in the manifest, so that an interrupted pass
goes on from its last chunk; memory is that of one chunk, however long the corpus is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.activations import TokenRows, stacked_concept_masks, tokenize
from saekit.activations.finite import check_finite
from saekit.activations.given import GivenTokens
from saekit.activations.model_worker import read_parts
from saekit.activations.source import in_parts, texts_of
from saekit.corpora import Corpus, Document
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import coded
from saekit.features.building.near_misses import NearMisses
from saekit.features.schema import NEAR_TOKENS
from saekit.models import ROWS_AT_ONCE, joined

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHUNK_TOKENS = 2**16
ENCODED_AT_ONCE = 2048


@dataclass
class Progress:
    """Where the pass stands; it is kept in the manifest."""

    documents: int = 0
    counted: int = 0
    places: int = 0
    rows: int = 0
    excluded: dict[str, int] = field(default_factory=lambda: {"bos": 0, "special": 0, "cut": 0})
    kinds: dict[str, int] = field(default_factory=dict)  # documents of each kind so far


@dataclass(frozen=True)
class Reader:
    """Reads chunks. `wanted`: counted tokens, or None for all there are; `concepts` name the labels."""

    model: TransformerBridge
    dictionary: Dictionary
    source: Corpus | GivenTokens
    wanted: int | None
    concepts: Sequence[str]
    how: Mapping[str, Any]  # exclude, context and bos, as in `tokenize`
    engine: str
    workers: int

    def read(self, progress: Progress, told: Callable[[int], object]) -> Iterator[tuple[dict[str, Tensor], Progress]]:
        """Chunks and where the pass stands after each. Raises ValueError for NaN or infinite activations."""
        documents = in_parts(self.source, ROWS_AT_ONCE, progress.documents)
        while self.wanted is None or progress.counted < self.wanted:
            room = CHUNK_TOKENS if self.wanted is None else min(CHUNK_TOKENS, self.wanted - progress.counted)
            batches, progress = self._tokenize(documents, progress, room)
            if not batches:
                return
            yield self._chunk(batches, progress, told), progress

    def _tokenize(self, documents: Iterator[Any], before: Progress, room: int) -> tuple[list[_Batch], Progress]:
        """Whole documents until they hold `room` counted tokens; what the last document has beyond what is wanted is
        kept as text and not counted."""
        now = replace(before, excluded=dict(before.excluded), kinds=dict(before.kinds))
        batches: list[_Batch] = []
        while now.counted - before.counted < room and (some := next(documents, None)) is not None:
            rows = tokenize(self.model, texts_of(some), first_document=now.documents, **self.how)
            left = None if self.wanted is None else self.wanted - now.counted
            rows, used = (rows, len(some)) if left is None else _first(rows, left, now.documents, len(some))
            given = isinstance(some, GivenTokens)
            kinds = ["text"] * used if given else [document.kind for document in some[:used]]
            halves = []
            for kind in kinds:
                halves.append(now.kinds.get(kind, 0) % 2 == 0)
                now.kinds[kind] = now.kinds.get(kind, 0) + 1
            batch = _Batch(rows, [] if given else some[:used], kinds, halves, now.documents)
            batches.append(batch)
            now.documents += used
            now.counted += int(rows.mask.sum())
            now.places += int(rows.lengths.sum())
            now.rows += len(rows)
            for why, count in rows.excluded.items():
                now.excluded[why] = now.excluded.get(why, 0) + count
        return batches, now

    def _chunk(self, batches: list[_Batch], after: Progress, told: Callable[[int], object]) -> dict[str, Tensor]:
        sae, parts = self.dictionary, [batch.rows for batch in batches]
        counted_before = after.counted - sum(int(rows.mask.sum()) for rows in parts)
        near = NearMisses(sae) if counted_before < NEAR_TOKENS else None
        columns: dict[str, list[Tensor]] = {name: [] for name in _COLUMNS}
        codes: list[SparseCodes] = []
        labels: list[Tensor] = []
        base = 0
        pieces = [(batch, rows) for batch in batches for rows in batch.rows.split(ROWS_AT_ONCE)]
        read = read_parts(self.model, [rows for _, rows in pieces], sae.reads, self.engine, self.workers)
        for (batch, rows), activations in zip(pieces, read, strict=True):
            kept = rows.kept
            x: dict[str, Tensor] = {}
            for site, h in activations.items():
                x[site] = joined(h, site)[rows.mask.to(h.device)].to(sae.latent_max)
                check_finite(x[site], site, batch.first // ROWS_AT_ONCE)
            found = [some.codes.detach().to("cpu") for some in coded(sae, [x], ENCODED_AT_ONCE)]
            codes += found
            places = base + torch.arange(int(kept.sum()))
            if near is not None and found:
                documents = rows.documents[:, None].expand_as(kept)[rows.mask]
                near.add(x, SparseCodes.cat(found), documents, places[rows.mask[kept]])
            for name, values in _columns(rows, batch, kept, base).items():
                columns[name].append(values)
            labels.append(self._labels(batch, rows, kept, base))
            base += len(places)
            told(int(rows.mask.sum()))
        tensors = {name: torch.cat(values) for name, values in columns.items()}
        place_of_row = tensors["counted"].nonzero()[:, 0]
        tensors |= by_latent(codes, place_of_row, sae.d_sae)
        pairs = torch.cat(labels)
        pairs = pairs[pairs[:, 0].argsort(stable=True)]
        tensors |= {"label_place": pairs[:, 0].int(), "label_concept": pairs[:, 1].short()}
        kinds = [kind for batch in batches for kind in batch.kinds]
        number = {kind: i for i, kind in enumerate(sorted(after.kinds))}
        tensors["document_kind"] = torch.tensor([number[kind] for kind in kinds], dtype=torch.int16)
        return tensors | (near.tensors() if near is not None else {})

    def _labels(self, batch: _Batch, rows: TokenRows, kept: Tensor, base: int) -> Tensor:
        """[pairs, 2]: place in the chunk, number of the concept; of counted tokens."""
        if not self.concepts:
            return torch.empty(0, 2, dtype=torch.long)
        number = {concept: i for i, concept in enumerate(self.concepts)}
        own = replace(rows, documents=rows.documents - batch.first)
        order = (kept.reshape(-1).cumsum(0) - 1).view_as(kept)
        concepts, masks = stacked_concept_masks(own, batch.documents)
        numbers = torch.tensor([number.get(concept, -1) for concept in concepts], dtype=torch.long)
        concept, row, position = (masks & rows.mask).nonzero(as_tuple=True)
        pairs = torch.stack([base + order[row, position], numbers[concept]], dim=1)
        return pairs[pairs[:, 1] >= 0]


@dataclass(frozen=True)
class _Batch:
    rows: TokenRows
    documents: list[Document]
    kinds: list[str]
    halves: list[bool]  # whether each document chooses (True) or judges when concepts are matched
    first: int  # number of the first document


_COLUMNS = ("token", "document", "position", "row_first", "row_last", "counted", "chooses")


def _columns(rows: TokenRows, batch: _Batch, kept: Tensor, base: int) -> dict[str, Tensor]:
    """One entry a kept token. row_first and row_last: the places in the chunk where its row begins and ends."""
    lengths = kept.sum(1)
    last = base + lengths.cumsum(0) - 1
    first = last - lengths + 1
    halves = torch.tensor(batch.halves, dtype=torch.bool)[rows.documents - batch.first]
    by_row = {"document": rows.documents, "row_first": first, "row_last": last, "chooses": halves}
    found = {name: values[:, None].expand_as(kept)[kept] for name, values in by_row.items()}
    found |= {"token": rows.tokens[kept], "position": rows.positions[kept], "counted": rows.mask[kept]}
    return {name: values if values.dtype == torch.bool else values.int() for name, values in found.items()}


def by_latent(codes: list[SparseCodes], place_of_row: Tensor, d_sae: int) -> dict[str, Tensor]:
    """The non-zero entries sorted by latent, those of a latent by place: value, place, and where each latent begins."""
    if not codes:
        empty = torch.empty(0)
        return {"value": empty, "place": empty.int(), "starts": torch.zeros(d_sae + 1, dtype=torch.long)}
    joined = SparseCodes.cat(codes)
    kept = joined.values != 0
    latents, rows, values = joined.indices[kept], joined.rows[kept], joined.values[kept]
    order = torch.sort(latents, stable=True).indices
    starts = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(latents, minlength=d_sae).cumsum(0)])
    return {"value": values[order].float(), "place": place_of_row[rows[order]].int(), "starts": starts}


def _first(rows: TokenRows, left: int, first_document: int, documents: int) -> tuple[TokenRows, int]:
    """The documents that are needed for `left` counted tokens, of which the surplus is not counted."""
    order = rows.mask.reshape(-1).cumsum(0).view(rows.mask.shape)
    if not rows.mask.any() or int(order[-1, -1]) <= left:
        return rows, documents
    needed = rows.documents[(order[:, 0] - rows.mask[:, 0].long()) < left]
    last = int(needed[-1])
    part = rows.documents <= last
    spans = None if rows.spans is None else rows.spans[part]
    text = rows.positions[part] >= 0
    excluded = {"bos": 0, "special": int((text & ~rows.mask[part]).sum()), "cut": rows.excluded["cut"]}
    if rows.excluded["bos"]:
        excluded["bos"] = int((~text[:, 0]).sum())
    if "padding" in rows.excluded:
        excluded["padding"] = int((~text).sum()) - excluded["bos"]
    mask = rows.mask[part] & (order[part] <= left)
    cut = TokenRows(rows.tokens[part], mask, rows.documents[part], rows.positions[part], spans, excluded)
    return cut, last + 1 - first_document
