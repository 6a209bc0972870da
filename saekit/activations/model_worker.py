"""Reading a model on parts of rows of tokens, wherever an engine has it done."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saekit.activations.tokens import TokenRows
from saekit.engines import Item, mapped
from saekit.models import SeveralModels, by_model, describe_model, forward, load_model, passes
from saekit.models.filling import ORDERED_AT_ONCE
from saekit.models.hashing import fingerprint_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def read_parts(
    model: TransformerBridge | SeveralModels,
    parts: Sequence[TokenRows],
    hooks: Sequence[str],
    engine: str,
    workers: int,
    padding: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """The activations at some hooks of each part, [row, position, d], in their order, of several models under the names
    of their sites. Rows of like length run through the model together, whichever parts of some 16,000 tokens they are
    of.

    padding: what the model gives there is wanted too; otherwise anything may stand there. engine, workers: as in
    ``saekit.engines.mapped``."""
    if isinstance(model, SeveralModels):
        several = [
            (own.hooks, read_parts(own.model, parts, [*own.hooks.values()], engine, workers, padding))
            for own in by_model(model, hooks)
        ]
        for found in zip(*(read for _, read in several), strict=True):
            yield {site: h[hook] for (own, _), h in zip(several, found, strict=True) for site, hook in own.items()}
        return
    blocks = [_Block(block, padding) for block in _blocks(parts)]
    items = [item for block in blocks for item in block.items()]
    read = mapped(items, ModelWorker(model, list(hooks)), engine, workers)
    for block in blocks:
        yield from block.parts_of(read)


def _blocks(parts: Sequence[TokenRows]) -> Iterator[list[TokenRows]]:
    """Parts that follow each other and hold ORDERED_AT_ONCE tokens together, or one that holds more."""
    block: list[TokenRows] = []
    count = 0
    for part in parts:
        tokens = int(part.lengths.sum())
        if block and count + tokens > ORDERED_AT_ONCE:
            yield block
            block, count = [], 0
        block, count = [*block, part], count + tokens
    if block:
        yield block


class _Block:
    """Parts that are read together, and the passes that their rows make."""

    def __init__(self, parts: list[TokenRows], padding: bool) -> None:
        self.parts = parts
        self.lengths = [
            length
            for part in parts
            for length in ([part.tokens.shape[1]] * len(part) if padding else part.lengths.tolist())
        ]
        self.passes = passes(self.lengths)

    def items(self) -> Iterator[Item]:
        """What a worker is given for each pass."""
        rows = [row for part in self.parts for row in part.tokens]
        for some in self.passes:
            lengths = torch.tensor([self.lengths[row] for row in some])
            longest = int(lengths.max())
            tokens = [F.pad(rows[row][:longest], (0, max(0, longest - len(rows[row])))) for row in some]
            yield {"tokens": torch.stack(tokens), "lengths": lengths}

    def parts_of(self, read: Iterator[Item]) -> Iterator[dict[str, Tensor]]:
        """The activations of its parts, from those of its passes, which come next."""
        if len(self.passes) == len(self.parts) == 1:
            yield {hook: _widened(h, self.parts[0].tokens.shape[1]) for hook, h in next(read).items()}
            return
        rows: dict[str, list[Tensor]] = {}
        for some, found in zip(self.passes, itertools.islice(read, len(self.passes)), strict=True):
            for hook, h in found.items():
                for row, x in zip(some, h, strict=True):
                    rows.setdefault(hook, [x] * len(self.lengths))[row] = x
        start = 0
        for part in self.parts:
            width, end = part.tokens.shape[1], start + len(part)
            yield {hook: torch.stack([_widened(x, width, 0) for x in each[start:end]]) for hook, each in rows.items()}
            start = end


def _widened(h: Tensor, width: int, position: int = 1) -> Tensor:
    """With so many positions, the last ones 0."""
    missing = width - h.shape[position]
    return h if not missing else F.pad(h, (0, 0) * (h.ndim - 1 - position) + (0, missing))


class ModelWorker:
    """Gives the activations at some hooks, [row, position, d], of tokens [row, position] in rows of given lengths."""

    def __init__(self, model: TransformerBridge, hooks: list[str]) -> None:
        self.model, self.hooks = model, hooks

    def __call__(self, item: Item) -> Item:
        """The activations by hook, of ``item["tokens"]`` and ``item["lengths"]``."""
        return forward(self.model, item["tokens"], self.hooks, lengths=item["lengths"]).kept

    def elsewhere(self) -> Callable[[], ModelWorker]:
        """Loads the model by its name there. Raises ValueError for one that was not loaded by name."""
        described = describe_model(self.model)
        if described["model_hash"] is None:
            raise ValueError(
                "engine='ray' loads the model by its name in each worker: load it with sk.load_model first."
            )
        now = fingerprint_model(self.model) | {"model_hash": described["model_hash"]}
        return functools.partial(_loaded, type(self), described["model"], self.model.cfg.dtype, now, self.hooks)


def _loaded(
    kind: type[ModelWorker], name: str, dtype: torch.dtype, wanted: dict[str, Any], hooks: list[str]
) -> ModelWorker:
    model = load_model(name, dtype=dtype)
    found = fingerprint_model(model) | {"model_hash": model.model_hash}
    if differ := [key for key in wanted if found[key] != wanted[key]]:
        raise ValueError(
            f"the worker's {name!r} has other {', '.join(differ)} than the model given: engine='ray' is for models as "
            "load_model gives them."
        )
    return kind(model, hooks)
