"""The text of an evaluation: each document drawn and tokenised once, in rows for the model, with what is known of each
token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saekit.activations import TokenRows, concept_masks, tokenize
from saekit.activations.given import GivenTokens
from saekit.activations.read import what_was_read
from saekit.activations.source import Readable, in_parts, read_source, texts_of
from saekit.corpora import Corpus, Document
from saekit.files.arguments import whole
from saekit.models import ROWS_AT_ONCE, SeveralModels, describe_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DOCUMENTS_AT_ONCE = 64
AUTO = "auto"
USUAL_TOKENS = 40_000
"""What a finite text is judged on where nobody says: enough for the numbers of a report, in seconds."""
MULTIPLE = 16
"""Rows are padded to a multiple of so many tokens: the last bits of a matrix product depend on its shape, so an
activation would depend on the rows beside it."""
PADDING = {"positions": -1}
ROWS = ("tokens", "mask", "documents", "positions")


class Reading:
    """Rows of a source, ROWS_AT_ONCE at a time. Once they are read: ``counted`` tokens, and how many were ``excluded``.

    concepts: names of the labels. Raises ValueError for an endless corpus without ``tokens``, and when there is no
    token to count.
    """

    def __init__(
        self,
        model: TransformerBridge | SeveralModels,
        source: Readable,
        tokens: int | str | None = None,
        **how: Any,
    ) -> None:
        """source: as ``evaluate`` takes it; tokens: read so many counted ones, None: all, "auto": the first
        USUAL_TOKENS; how: exclude, context and bos, as in ``tokenize``."""
        self.model, self.auto = model, isinstance(tokens, str) and tokens == AUTO
        self.tokens = USUAL_TOKENS if self.auto else None if tokens is None else whole("tokens", tokens)
        self.how, self.source = how, read_source(source, model, how.get("context"))
        self.concepts: tuple[str, ...] = ()
        self.provenance: dict[str, Any] = describe_model(model)
        if isinstance(self.source, Corpus):
            if self.source.endless and (tokens is None or self.auto):
                raise ValueError(
                    f"corpus {self.source.name!r} has no end: say how many tokens, for example tokens=100_000."
                )
            self.concepts = tuple(self.source.concepts)
            self.provenance |= {"corpus": self.source.provenance}
        self.counted, self.rows = 0, 0
        self.excluded: Counter[str] = Counter(bos=0, special=0, cut=0)

    @property
    def spoken(self) -> str:
        """How many tokens were counted, and whether nobody chose how many."""
        first = self.auto and self.counted == self.tokens
        return f"{self.counted:,} counted" + (", the first of the text (tokens=None: all)" if first else "")

    @property
    def read(self) -> dict[str, Any]:
        """What was read, in rows, tokens and BOS."""
        return what_was_read(self.model, self.rows, self.counted, self.excluded, self.how.get("bos"))

    def __iter__(self) -> Iterator[tuple[TokenRows, dict[str, Tensor]]]:
        """Rows, and beside them columns of their tokens, [row, position, …]: "tokens", "chooses",
        "documents", "labels"."""
        waiting: list[dict[str, Tensor]] = []
        for columns in self._tokenised():
            waiting.append(columns)
            ready = sum(len(part["tokens"]) for part in waiting) // ROWS_AT_ONCE * ROWS_AT_ONCE
            if ready:
                joined = _joined(waiting)
                for start in range(0, ready, ROWS_AT_ONCE):
                    yield self._rows({name: h[start : start + ROWS_AT_ONCE] for name, h in joined.items()})
                waiting = [{name: h[ready:] for name, h in joined.items()}]
        if not self.counted:
            raise ValueError("there is no token to count: the corpus is empty or everything in it is excluded.")
        last = _joined(waiting)
        if len(last["tokens"]):
            yield self._rows(last)

    def _rows(self, columns: dict[str, Tensor]) -> tuple[TokenRows, dict[str, Tensor]]:
        """Rows as wide as their longest needs."""
        if not isinstance(self.source, GivenTokens):
            used = (columns["positions"] >= 0).any(0).nonzero()
            longest = int(used[-1]) + 1 if len(used) else 1
            columns = _widened(columns, min(rounded(longest), self.model.cfg.n_ctx))
        tokens, mask, documents, positions = (columns[name] for name in ROWS)
        rows = TokenRows(tokens, mask, documents, positions, None, {})
        chooses, numbers = (columns[name][:, None].expand_as(rows.tokens) for name in ("chooses", "documents"))
        return rows, {"tokens": rows.tokens, "chooses": chooses, "documents": numbers, "labels": columns["labels"]}

    def _tokenised(self) -> Iterator[dict[str, Tensor]]:
        documents = 0
        kinds: Counter[str] = Counter()  # kinds may take turns, and each must lie in both halves
        given = isinstance(self.source, GivenTokens)
        for some in in_parts(self.source, max(1, len(self.source)) if given else DOCUMENTS_AT_ONCE):
            left = None if self.tokens is None else self.tokens - self.counted
            rows = tokenize(self.model, texts_of(some), **self.how)
            if left is not None and int(rows.mask.sum()) >= left:
                rows = rows.first(left)
            halves = []
            for kind in ["text"] * len(some) if isinstance(some, GivenTokens) else [d.kind for d in some]:
                halves.append(kinds[kind] % 2 == 0)
                kinds[kind] += 1
            columns = {name: getattr(rows, name) for name in ROWS}
            columns["chooses"] = torch.tensor(halves, dtype=torch.bool)[rows.documents]
            columns["documents"] = rows.documents + documents
            columns["labels"] = self._labels(rows, some)
            documents += len(some)
            self.counted += int(rows.mask.sum())
            self.rows += len(rows)
            self.excluded.update(rows.excluded)
            yield columns
            if self.counted == self.tokens:
                return

    def _labels(self, rows: TokenRows, documents: list[Document] | GivenTokens) -> Tensor:
        """[row, position, concepts]"""
        if not self.concepts or isinstance(documents, GivenTokens):
            return torch.zeros(*rows.tokens.shape, 0, dtype=torch.bool)
        masks, none = concept_masks(rows, documents), torch.zeros_like(rows.mask)
        return torch.stack([masks.get(name, none) for name in self.concepts], -1)


def rounded(lengths: Any) -> Any:
    """The next multiple of MULTIPLE."""
    return (lengths + MULTIPLE - 1) // MULTIPLE * MULTIPLE


def _widened(columns: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """Columns of rows, padded or (of padding) cut to a width."""

    def padded(name: str, h: Tensor) -> Tensor:
        more = (0, 0) * (h.ndim - 2) + (0, width - h.shape[1])
        return F.pad(h, more, value=PADDING.get(name, 0))

    return {name: padded(name, h) if h.ndim > 1 else h for name, h in columns.items()}


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    width = max(part["tokens"].shape[1] for part in parts)
    widened = [_widened(part, width) for part in parts]
    return {name: torch.cat([part[name] for part in widened]) for name in parts[0]}
