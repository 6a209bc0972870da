"""Features: what a dictionary's latents do on a corpus, kept in a store that is browsed, asked and labelled."""

from __future__ import annotations

from saekit.features import columns
from saekit.features.asking.windows import Window
from saekit.features.columns import Column
from saekit.features.explanations import (
    After,
    Before,
    ChatJudge,
    Concept,
    ExplanationScore,
    LocalJudge,
    Predicate,
    Tokens,
)
from saekit.features.labels.labels import Labels
from saekit.features.showing.map import FeatureMap, feature_map
from saekit.features.showing.prompt import PromptFeatures, features_on
from saekit.features.store import FeatureStore

__all__ = [
    "After",
    "Before",
    "ChatJudge",
    "Column",
    "Concept",
    "ExplanationScore",
    "FeatureMap",
    "FeatureStore",
    "Labels",
    "LocalJudge",
    "Predicate",
    "PromptFeatures",
    "Tokens",
    "Window",
    "columns",
    "feature_map",
    "features_on",
]


def __dir__() -> list[str]:
    return [*__all__]
