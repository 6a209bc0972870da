"""Reading a model on parts of rows of tokens, wherever an engine has it done."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.activations.tokens import TokenRows
from saekit.engines import Item, mapped
from saekit.models import describe_model, forward, load_model
from saekit.models.hashing import fingerprint_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def read_parts(
    model: TransformerBridge,
    parts: Sequence[TokenRows],
    hooks: Sequence[str],
    engine: str,
    workers: int,
    padding: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """What ``forward`` keeps on each part. padding: what the model gives there is wanted too; otherwise anything may
    stand there. engine, workers: as in ``saekit.engines.mapped``."""
    lengths = [torch.full_like(part.lengths, part.tokens.shape[1]) if padding else part.lengths for part in parts]
    items = [{"tokens": part.tokens, "lengths": wanted} for part, wanted in zip(parts, lengths, strict=True)]
    return mapped(items, ModelWorker(model, list(hooks)), engine, workers)


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
