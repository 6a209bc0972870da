"""The first half of building a store: one pass over the corpus, kept as chunks on disk.

A chunk holds whole documents: their tokens, the firings of every latent sorted by latent, the labelled concepts of each
token, and the near misses seen so far. It appears whole and is then named in the manifest, so that an interrupted pass
goes on from its last chunk; one that is stopped ends its chunk there. Memory is that of one chunk, however long the
corpus is.
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
from saekit.files.stopping import Stop
from saekit.models import ROWS_AT_ONCE, SeveralModels, joined

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
    chunk: int = 0  # counted tokens before the present chunk, which one that was stopped has a part of
    excluded: dict[str, int] = field(default_factory=lambda: {"bos": 0, "special": 0, "cut": 0})
    kinds: dict[str, int] = field(default_factory=dict)  # documents of each kind so far


def _goes_on(progress: Progress) -> bool:
    """Whether the present chunk has room."""
    return progress.counted - progress.chunk < CHUNK_TOKENS


@dataclass(frozen=True)
class Reader:
    """Reads chunks. `wanted`: counted tokens, or None for all there are; `concepts` name the labels."""

    model: TransformerBridge | SeveralModels
    dictionary: Dictionary
    source: Corpus | GivenTokens
    wanted: int | None
    concepts: Sequence[str]
    how: Mapping[str, Any]  # exclude, context and bos, as in `tokenize`
    engine: str
    workers: int

    def read(
        self, progress: Progress, told: Callable[[int], object], stop: Stop
    ) -> Iterator[tuple[dict[str, Tensor], Progress]]:
        """Chunks and where the pass stands after each; stopped, it ends with what the chunk has by then. Raises
        ValueError for NaN or infinite activations."""
        documents = in_parts(self.source, ROWS_AT_ONCE, progress.documents)
        while not self._enough(progress) and not stop.asked:
            batches = self._tokenize(documents, progress, stop)
            if not batches:
                return
            tensors, done = self._chunk(batches, progress, told, stop)
            if done is not None:
                progress = done if _goes_on(done) else replace(done, chunk=done.counted)
                yield tensors, progress

    def _enough(self, progress: Progress) -> bool:
        return self.wanted is not None and progress.counted >= self.wanted

    def _tokenize(self, documents: Iterator[Any], before: Progress, stop: Stop) -> list[_Batch]:
        """Whole documents until they fill the chunk; what the last document has beyond what is wanted is kept as text
        and not counted."""
        now = replace(before, excluded=dict(before.excluded), kinds=dict(before.kinds))
        batches: list[_Batch] = []
        while _goes_on(now) and not self._enough(now) and not stop.asked:
            if (some := next(documents, None)) is None:
                break
            rows = tokenize(self.model, texts_of(some), first_document=now.documents, **self.how)
            left = None if self.wanted is None else self.wanted - now.counted
            rows, used = (rows, len(some)) if left is None else _first(rows, left, now.documents, len(some))
            given = isinstance(some, GivenTokens)
            kinds = ["text"] * used if given else [document.kind for document in some[:used]]
            halves = []
            for kind in kinds:
                halves.append(now.kinds.get(kind, 0) % 2 == 0)
                now.kinds[kind] = now.kinds.get(kind, 0) + 1
            first = now.documents
            now.documents += used
            now.counted += int(rows.mask.sum())
            now.places += int(rows.lengths.sum())
            now.rows += len(rows)
            for why, count in rows.excluded.items():
                now.excluded[why] = now.excluded.get(why, 0) + count
            after = replace(now, excluded=dict(now.excluded), kinds=dict(now.kinds))
            batches.append(_Batch(rows, [] if given else some[:used], kinds, halves, first, after))
        return batches

    def _chunk(
        self, batches: list[_Batch], before: Progress, told: Callable[[int], object], stop: Stop
    ) -> tuple[dict[str, Tensor], Progress | None]:
        """The batches that were read until it was stopped, and where the pass stands then; None where there is none."""
        sae, done = self.dictionary, list[_Batch]()
        near = NearMisses(sae) if before.chunk < NEAR_TOKENS else None
        columns: dict[str, list[Tensor]] = {name: [] for name in _COLUMNS}
        codes: list[SparseCodes] = []
        labels: list[Tensor] = []
        base = 0
        pieces = [(batch, rows) for batch in batches for rows in batch.rows.split(ROWS_AT_ONCE)]
        read = read_parts(self.model, [rows for _, rows in pieces], sae.reads, self.engine, self.workers)
        for (batch, rows), activations in zip(pieces, read, strict=True):
            if stop.asked and batch not in done[-1:]:  # a batch is read to its end
                break
            done += [] if batch in done[-1:] else [batch]
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
        if not done:
            return {}, None
        after = done[-1].after
        tensors = {name: torch.cat(values) for name, values in columns.items()}
        place_of_row = tensors["counted"].nonzero()[:, 0]
        tensors |= by_latent(codes, place_of_row, sae.d_sae)
        pairs = torch.cat(labels)
        pairs = pairs[pairs[:, 0].argsort(stable=True)]
        tensors |= {"label_place": pairs[:, 0].int(), "label_concept": pairs[:, 1].short()}
        kinds = [kind for batch in done for kind in batch.kinds]
        number = {kind: i for i, kind in enumerate(after.kinds)}  # as they came: what is read later changes no number
        tensors["document_kind"] = torch.tensor([number[kind] for kind in kinds], dtype=torch.int16)
        tensors["chunk"] = torch.tensor([before.chunk])
        return tensors | (near.tensors() if near is not None else {}), after

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


@dataclass(frozen=True, eq=False)
class _Batch:
    rows: TokenRows
    documents: list[Document]
    kinds: list[str]
    halves: list[bool]  # whether each document chooses (True) or judges when concepts are matched
    first: int  # number of the first document
    after: Progress  # where the pass stands once it is read


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
