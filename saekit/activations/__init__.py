"""Activations: text to tokens, tokens to activations, and a shuffled stream of them for training."""

from __future__ import annotations

from saekit.activations.array_stream import ArrayStream
from saekit.activations.chat import chat_texts
from saekit.activations.harvesting import Activations, harvest
from saekit.activations.modules import ModuleActivations, harvest_module
from saekit.activations.shuffled import ShuffledStream, StreamState
from saekit.activations.store import ActivationStore
from saekit.activations.store_stream import StoreStream
from saekit.activations.stream import ActivationStream, RowStream
from saekit.activations.tokens import (
    TokenRows,
    concept_mask,
    concept_masks,
    stacked_concept_masks,
    token_strings,
    tokenize,
)

__all__ = [
    "ActivationStore",
    "ActivationStream",
    "Activations",
    "ArrayStream",
    "ModuleActivations",
    "RowStream",
    "ShuffledStream",
    "StoreStream",
    "StreamState",
    "TokenRows",
    "chat_texts",
    "concept_mask",
    "concept_masks",
    "harvest",
    "harvest_module",
    "stacked_concept_masks",
    "token_strings",
    "tokenize",
]


def __dir__() -> list[str]:
    return [*__all__]
