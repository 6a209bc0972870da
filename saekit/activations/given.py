"""Token ids as people have them, in one normal form.

Token ids come as a tensor or array [row, position], as lists, as a mapping with ``input_ids`` and ``attention_mask``
(what a tokenizer gives), as a data set with these columns, or as the ``rows`` of what was harvested. A row is taken as
it is, nothing is added to it; what its attention mask leaves out is padding, and rows padded on the left are moved to
the left, so that a token's position is its place in its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from saekit.activations.arrays import as_array

IDS, MASK, TEXT = "input_ids", "attention_mask", "text"


@dataclass(frozen=True, eq=False)
class GivenTokens:
    """Rows of token ids, padded on the right.

    mask:   True at text. masked: whether that was said, by an attention mask or by rows of unlike length.
    moved:  how far each row was moved to the left.
    """

    ids: Int[Tensor, "row position"]
    mask: Bool[Tensor, "row position"]
    masked: bool
    moved: Int[Tensor, " row"]

    endless = False

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | Tensor) -> GivenTokens:
        """Some rows, by a slice or their numbers."""
        return GivenTokens(self.ids[rows], self.mask[rows], self.masked, self.moved[rows])

    def split(self, rows: int) -> list[GivenTokens]:
        """Parts of at most so many rows each."""
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def aligned(self, beside: Shaped[Tensor, "row position ..."]) -> Shaped[Tensor, "row position ..."]:
        """What stood beside the tokens as they were given, moved as they were."""
        width = self.ids.shape[1]
        place = (self.moved[:, None] + torch.arange(width)).clamp_max(max(width - 1, 0))
        return beside[torch.arange(len(self))[:, None], place]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, ids and mask."""
        digest = hashlib.sha256(f"{list(self.ids.shape)}\n".encode())
        digest.update(self.ids.contiguous().numpy().tobytes() + self.mask.contiguous().numpy().tobytes())
        return digest.hexdigest()


def given_tokens(source: Any) -> GivenTokens | None:
    """Token ids in their normal form; None for what is no token ids. A data set that has a text too is read as text,
    since its ids may be another tokenizer's.

    Raises ValueError for ids that are not whole numbers [row, position], a mask of another shape, with a gap, or with
    other values than 0 and 1, and an empty row."""
    if isinstance(source, GivenTokens):
        return source
    if hasattr(source, "tokens") and hasattr(source, "kept"):  # rows that were made of a text
        return _of_array(source.tokens, source.kept)
    if isinstance(source, Tensor | np.ndarray) and not _holds_text(source):
        return _of_array(as_array(source), None)
    columns = _columns(source)
    if columns is not None:
        ids, mask = columns
        if isinstance(ids, Tensor | np.ndarray):
            return _of_array(as_array(ids), None if mask is None else as_array(mask))
        return _of_lists(list(ids), None if mask is None else list(mask))
    if isinstance(source, Sequence) and not isinstance(source, str | bytes) and len(source):
        if all(_is_row(row) for row in source):
            return _of_lists(list(source), None)
        if all(isinstance(token, int | np.integer) for token in source):
            raise ValueError(f"a row of tokens goes in a list: [[{', '.join(map(str, source[:3]))}, …]].")
    return None


def _of_array(ids: Tensor, mask: Tensor | None) -> GivenTokens:
    if ids.ndim != 2 or ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise ValueError(f"tokens must be integers [row, position], found {ids.dtype} {tuple(ids.shape)}.")
    ids = ids.detach().cpu().long()
    if mask is None:
        return GivenTokens(ids, torch.ones_like(ids, dtype=torch.bool), False, torch.zeros(len(ids), dtype=torch.long))
    mask = mask.detach().cpu()
    if mask.shape != ids.shape:
        raise ValueError(f"the attention mask has shape {tuple(mask.shape)}, the tokens have {tuple(ids.shape)}.")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError(f"an attention mask holds 0 and 1, where 1 is text, found {float(mask.max()):g}.")
    return _moved(ids, mask.bool())


def _of_lists(rows: list[Any], masks: list[Any] | None) -> GivenTokens:
    each = [_row(row, number) for number, row in enumerate(rows)]
    width = max((len(row) for row in each), default=0)
    ids = torch.zeros(len(each), width, dtype=torch.long)
    mask = torch.zeros(len(each), width, dtype=torch.bool)
    for number, row in enumerate(each):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = True
    if masks is None:
        return GivenTokens(ids, mask, not bool(mask.all()), torch.zeros(len(ids), dtype=torch.long))
    for number, (row, own) in enumerate(zip(each, masks, strict=True)):
        one = as_array(own)
        if one.shape != row.shape:
            raise ValueError(
                f"the attention mask of row {number} has {one.numel()} values, the row {row.numel()} tokens."
            )
        mask[number, : len(row)] = one.bool()
    return _moved(ids, mask)


def _moved(ids: Tensor, mask: Tensor) -> GivenTokens:
    """Each row from its first token of text on, padding behind it."""
    length, first = mask.sum(1), mask.long().argmax(1)
    place = torch.arange(ids.shape[1])
    inside = (place >= first[:, None]) & (place < (first + length)[:, None])
    if bool((inside & ~mask).any()):
        row, at = (inside & ~mask).nonzero()[0].tolist()
        raise ValueError(f"the attention mask of row {row} has a gap at position {at}: text must be in one piece.")
    if not bool(length.all()):
        raise ValueError(f"row {int((length == 0).nonzero()[0])} of the tokens has no text by its attention mask.")
    kept = place < length[:, None]
    moved = GivenTokens(ids, kept, True, first)
    return GivenTokens(torch.where(kept, moved.aligned(ids), 0), kept, True, first)


def _columns(source: Any) -> Any:
    """``input_ids`` and ``attention_mask`` of a mapping, a frame, a data set, or a list of rows; None without them."""
    names = source if isinstance(source, Mapping) else getattr(source, "column_names", None)
    names = getattr(source, "columns", None) if names is None else names
    if names is not None:
        have = list(names)
        if IDS not in have or TEXT in have:
            return None
        return source[IDS], source[MASK] if MASK in have else None
    if not isinstance(source, Sequence) or isinstance(source, str | bytes) or not len(source):
        return None
    if not all(isinstance(row, Mapping) and IDS in row and TEXT not in row for row in source):
        return None
    masks = [row.get(MASK) for row in source]
    return [row[IDS] for row in source], None if masks[0] is None else masks


def _is_row(row: Any) -> bool:
    if isinstance(row, Tensor | np.ndarray):
        return row.ndim == 1 and not _holds_text(row)
    return isinstance(row, list | tuple) and bool(row) and all(isinstance(token, int | np.integer) for token in row)


def _row(row: Any, number: int) -> Tensor:
    found = as_array(row)
    if found.ndim != 1 or found.is_floating_point() or not len(found):
        raise ValueError(f"row {number} of the tokens must be whole numbers, at least one, found {row!r:.60}.")
    return found.long()


def _holds_text(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "OUS"
