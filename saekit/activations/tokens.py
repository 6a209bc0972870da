"""Text to rows of tokens: one document a row, BOS first, no packing, and where each token came from.

What passes the model's context goes on in a further row with its own BOS (``long="window"``) or is dropped
(``long="cut"``). Whether there is a BOS, and which, says ``saekit.models.bos``; a text that begins with it gets no
second one. Rows are padded on the right; since a causal model never looks right, no attention mask is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from saekit.activations.given import GivenTokens, given_tokens
from saekit.activations.source import check_given
from saekit.files.arguments import whole
from saekit.files.choices import checked, offered
from saekit.models import SeveralModels, passes
from saekit.models.bos import bos_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from saekit.corpora import Document, Span


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Tokens as the model gets them, [row, position].

    mask:      True at counted tokens (BOS, padding and chosen special tokens are not).
    documents: the document of each row, as its index in the source.
    positions: index of each token in its document, counted from 0 without BOS; -1 at BOS and padding.
    spans:     [row, position, 2] characters of each token in its document, or None for token tensors.
    excluded:  how many tokens were left out, by reason: bos, special, cut, and padding where a mask told it apart.
    """

    tokens: Int[Tensor, "row position"]
    mask: Bool[Tensor, "row position"]
    documents: Int[Tensor, " row"]
    positions: Int[Tensor, "row position"]
    spans: Int[Tensor, "row position 2"] | None
    excluded: dict[str, int]

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        rows, positions = self.tokens.shape
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in self.excluded.items() if count)
        said = f"; left out: {left_out}" if left_out else ""
        return f"TokenRows({rows:,} rows of {positions:,} positions, {int(self.mask.sum()):,} counted tokens{said})"

    @property
    def kept(self) -> Bool[Tensor, "row position"]:
        """Everything but padding: counted tokens, BOS, and special tokens that are not counted."""
        kept = self.positions >= 0
        kept[:, :1] = True
        return kept

    @property
    def lengths(self) -> Int[Tensor, " row"]:
        """How many positions of each row are not padding."""
        return self.kept.sum(1)

    @property
    def predicts(self) -> Bool[Tensor, "row position"]:
        """Where a counted token is followed by a token of the same row that is no padding."""
        follows = torch.zeros_like(self.mask)
        follows[:, :-1] = (self.positions[:, 1:] >= 0) & self.mask[:, :-1]
        return follows

    def first(self, tokens: int) -> TokenRows:
        """The first rows, as few as hold ``tokens`` counted tokens; the surplus of the last row is not counted."""
        order = self.mask.reshape(-1).cumsum(0).view(self.mask.shape)
        needed = int((order[:, 0] - self.mask[:, 0].long() < tokens).sum())
        part = slice(0, needed)
        mask = self.mask[part] & (order[part] <= tokens)
        spans = None if self.spans is None else self.spans[part]
        positions = self.positions[part]
        bos = int((positions[:, 0] < 0).sum()) if self.excluded["bos"] else 0
        special = int(((positions >= 0) & ~self.mask[part]).sum())
        excluded = {"bos": bos, "special": special, "cut": self.excluded["cut"]}
        if "padding" in self.excluded:
            excluded["padding"] = int((positions < 0).sum()) - bos
        return TokenRows(self.tokens[part], mask, self.documents[part], positions, spans, excluded)

    def split(self, rows: int) -> list[TokenRows]:
        """Parts of at most so many rows each; what was excluded is not known by part."""
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def passes(self, rows: int | None = None) -> list[tuple[Int[Tensor, " row"], TokenRows]]:
        """All rows in parts that fill a forward pass (``saekit.models.passes``), each as wide as its longest needs:
        which rows they are, and these rows. rows: in a part at most."""
        found = []
        for some in passes(self.lengths.tolist(), rows=rows):
            which = torch.tensor(some)
            part = self[which]
            found.append((which, part.cut(int(part.lengths.max()))))
        return found

    def cut(self, width: int) -> TokenRows:
        """The first positions of each row.

        width: how many."""
        spans = None if self.spans is None else self.spans[:, :width]
        kept = (self.tokens[:, :width], self.mask[:, :width], self.documents, self.positions[:, :width])
        return TokenRows(*kept, spans, self.excluded)

    @classmethod
    def joined(cls, parts: Sequence[TokenRows]) -> TokenRows:
        """The rows of several parts as those of one, padded on the right; what was excluded is not known."""
        width = max(part.tokens.shape[1] for part in parts)

        def padded(name: str, value: int = 0) -> Tensor:
            each = [getattr(part, name) for part in parts]
            return torch.cat([F.pad(x, (0, 0) * (x.ndim - 2) + (0, width - x.shape[1]), value=value) for x in each])

        documents = torch.cat([part.documents for part in parts])
        spans = None if parts[0].spans is None else padded("spans")
        return cls(padded("tokens"), padded("mask"), documents, padded("positions", -1), spans, {})

    def __getitem__(self, p: slice | Int[Tensor, " row"]) -> TokenRows:
        """Some rows, to read again: ``harvest(model, acts.rows[3:5], hook)``."""
        spans = None if self.spans is None else self.spans[p]
        return TokenRows(self.tokens[p], self.mask[p], self.documents[p], self.positions[p], spans, {})


def tokenize(
    model: TransformerBridge | SeveralModels,
    texts: Sequence[str] | Int[Tensor, "row position"] | GivenTokens | Any,
    *,
    long: Literal["window", "cut"] = "window",
    context: int | None = None,
    exclude: Sequence[str] | str = (),
    bos: bool | None = None,
    first_document: int = 0,
) -> TokenRows:
    """Turn texts into rows of at most ``context`` tokens (default: the model's), BOS included.

    Token ids, in any form that ``given_tokens`` takes, are taken as they are, nothing added; a BOS at their first
    position is not counted, padding by their attention mask is left out.
    exclude: special tokens (by their text) that are not counted either; "special": all that the tokenizer has.
    bos:     whether rows begin with BOS; None: as ``bos_of`` says of the model.
    first_document: the number of the first text, where they are a part of more.
    Raises ValueError for a token that is not the tokenizer's, an unknown ``long``, a context without room for a token,
    and token ids as ``check_given`` does.
    """
    tokenizer = model.tokenizer
    special = torch.tensor(_excluded(tokenizer, exclude), dtype=torch.long)
    begin = bos_of(model, bos)
    checked("long", long, ("window", "cut"))
    lead = int(begin is not None)
    if context is not None:
        context = whole("context", context)
        if context <= lead:
            raise ValueError(f"context must be at least {lead + 1}, so that a row holds a token, found {context}.")
    given = given_tokens(texts)
    if given is not None:
        check_given(given, model, context)
        return _from_given(given, begin, special, first_document)
    room = min(model.cfg.n_ctx if context is None else context, model.cfg.n_ctx) - lead
    rows: list[tuple[int, int, list[int], list[tuple[int, int]]]] = []
    cut = 0
    documents: list[str] = list(texts)  # type: ignore[arg-type]  # token ids are dealt with
    encoded = tokenizer(documents, add_special_tokens=False, return_offsets_mapping=True) if documents else {}
    for d, (ids, offsets) in enumerate(
        zip(encoded.get("input_ids", []), encoded.get("offset_mapping", []), strict=True)
    ):
        if begin is not None and ids[:1] == [begin]:  # the text has it already
            ids, offsets = ids[1:], offsets[1:]
        for start in range(0, max(len(ids), 1), room):
            if start and long == "cut":
                cut += len(ids) - start
                break
            rows.append((first_document + d, start, ids[start : start + room], offsets[start : start + room]))
    vocabulary, pad = model.cfg.d_vocab, getattr(tokenizer, "pad_token_id", None) or 0
    largest = max((max(ids) for _, _, ids, _ in rows if ids), default=0)
    if largest >= vocabulary:
        raise ValueError(
            f"the tokenizer gives the token {tokenizer.convert_ids_to_tokens(largest)!r} the id {largest:,}, and the "
            f"model knows 0 … {vocabulary - 1:,}: load the tokenizer that the model was trained with."
        )
    return _pad(rows, begin, pad if pad < vocabulary else 0, special, cut)


def _pad(rows: list[Any], bos: int | None, pad: int, special: Tensor, cut: int) -> TokenRows:
    lead = int(bos is not None)
    width = max((len(ids) for _, _, ids, _ in rows), default=0) + lead
    tokens = torch.full((len(rows), width), pad, dtype=torch.long)
    positions = torch.full((len(rows), width), -1, dtype=torch.long)
    spans = torch.zeros(len(rows), width, 2, dtype=torch.long)
    for r, (_, start, ids, offsets) in enumerate(rows):
        end = lead + len(ids)
        if bos is not None:
            tokens[r, 0] = bos
        if ids:
            tokens[r, lead:end] = torch.tensor(ids)
            positions[r, lead:end] = torch.arange(start, start + len(ids))
            spans[r, lead:end] = torch.tensor(offsets)
    is_special = torch.isin(tokens, special) & (positions >= 0)
    documents = torch.tensor([row[0] for row in rows], dtype=torch.long)
    excluded = {"bos": lead * len(rows), "special": int(is_special.sum()), "cut": cut}
    return TokenRows(tokens, (positions >= 0) & ~is_special, documents, positions, spans, excluded)


def _from_given(given: GivenTokens, bos: int | None, special: Tensor, first_document: int) -> TokenRows:
    tokens, text = given.ids, given.mask
    is_bos = torch.zeros_like(text)
    if tokens.shape[1] and bos is not None:
        is_bos[:, 0] = tokens[:, 0] == bos
    is_special = torch.isin(tokens, special) & ~is_bos & text
    place = torch.arange(tokens.shape[1])[None] - is_bos.any(1, keepdim=True).long()
    positions = torch.where(is_bos | ~text, -1, place)
    documents = torch.arange(first_document, first_document + len(tokens))
    excluded = {"bos": int(is_bos.sum()), "special": int(is_special.sum()), "cut": 0}
    if given.masked:
        excluded["padding"] = int((~text).sum())
    return TokenRows(tokens, text & ~is_bos & ~is_special, documents, positions, None, excluded)


def _excluded(tokenizer: Any, exclude: Sequence[str]) -> list[int]:
    """The ids of tokens that are not counted."""
    if exclude == "special":
        return special_ids(tokenizer)
    return [_token_id(tokenizer, token) for token in ([exclude] if isinstance(exclude, str) else exclude)]


def special_ids(tokenizer: Any) -> list[int]:
    """The ids of all special tokens, in order; some tokenizers name those of their chat format as added ones alone."""
    added = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return sorted(added | set(tokenizer.all_special_ids))


def _token_id(tokenizer: Any, token: str) -> int:
    known = tokenizer.get_vocab()
    if token not in known:
        special = tokenizer.all_special_tokens
        raise ValueError(f"the tokenizer has no token {token!r}; of its special ones {offered(token, special)}.")
    return known[token]


def concept_masks(rows: TokenRows, documents: Sequence[Document]) -> dict[str, Bool[Tensor, "row position"]]:
    """For each concept of the rows' documents, sorted: True at tokens that share a character with a span of it.

    A span's leading space is not counted. ``documents`` are those the rows were made from, in the same order.
    """
    concepts, masks = stacked_concept_masks(rows, documents)
    return dict(zip(concepts, masks, strict=True))


def stacked_concept_masks(
    rows: TokenRows, documents: Sequence[Document]
) -> tuple[list[str], Bool[Tensor, "concept row position"]]:
    """The concepts and masks of ``concept_masks``.

    rows: as ``acts.rows``. documents: those that the rows were made of."""
    if rows.spans is None:
        raise ValueError("rows made from a token tensor have no characters, so spans of text cannot be found in them.")
    found = [(r, documents[d].text, span) for r, d in enumerate(rows.documents.tolist()) for span in documents[d].spans]
    concepts = sorted({span.concept for _, _, span in found})
    number = {concept: i for i, concept in enumerate(concepts)}
    masks = torch.zeros(len(concepts) * len(rows), rows.tokens.shape[1], dtype=torch.int32)
    if found:
        ends = [_within(text, span) for _, text, span in found]
        row, (start, end) = torch.tensor([r for r, _, _ in found]), torch.tensor(ends).T[..., None]
        shared = (rows.spans[row, :, 0] < end) & (rows.spans[row, :, 1] > start)
        cell = torch.tensor([number[span.concept] for _, _, span in found]) * len(rows) + row
        masks.index_add_(0, cell, shared.int())
    shape = (len(concepts), *rows.tokens.shape)
    return concepts, masks.view(shape).bool() & (rows.positions >= 0)


def _within(text: str, span: Span) -> tuple[int, int]:
    """The characters of a span that count: not a leading space, and none of an empty one, which lies in no token."""
    start, end = span.start, span.end
    if start >= end:
        return len(text) + 1, -1
    if text[start].isspace() and (word := text[start:end].lstrip()):
        return end - len(word), end
    return start, end


def concept_mask(rows: TokenRows, documents: Sequence[Document], concept: str) -> Bool[Tensor, "row position"]:
    """The mask of one concept; False everywhere where no document has it. See ``concept_masks``.

    rows: as ``acts.rows``. documents: those that the rows were made of, such as ``list(corpus)``."""
    return concept_masks(rows, documents).get(concept, torch.zeros_like(rows.mask))


def token_strings(model: TransformerBridge, tokens: Iterable[int]) -> list[str]:
    """What each token adds to the text; bytes that are no character alone show as �, and ids that the model has and its
    tokenizer does not as <298>.

    tokens: their ids."""
    tokenizer = model.tokenizer
    special = set(tokenizer.all_special_ids)
    ids = [int(token) for token in tokens]
    # An empty word before each token keeps the leading space that some tokenizers strip from the first one.
    plain = tokenizer.convert_ids_to_tokens(ids)
    return [p if i in special else _display(tokenizer, i, p) for i, p in zip(ids, plain, strict=True)]


def _display(tokenizer: Any, token: int, plain: str | None) -> str:
    if plain is None:
        return f"<{token}>"
    text = tokenizer.decode([token], clean_up_tokenization_spaces=False)
    return " " + text if plain.startswith("▁") and not text.startswith(" ") else text
