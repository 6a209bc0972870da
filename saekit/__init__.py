"""saekit: sparse autoencoders on language models, in a notebook.

This file is the table of contents: the names a notebook uses. Each is imported from its home when first asked for, so
that ``import saekit`` costs no more than importing torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# PyTorch's threads wait for each other by spinning. Building a store of micro took 4 s on two free cores, and 25 to 45
# where another program had one of them; spinning for a shorter while, 4 and 8 to 11. Training: 7 % more where the
# cores are free, no gain seen where one is taken. Read when torch is loaded: it counts only where saekit comes first.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_HOMES = {
    "saekit.models": ["load_model"],
    "saekit.corpora": ["Corpus", "Document", "Span", "load_corpus", "load_pairs"],
    "saekit.activations": ["Activations"],
    "saekit_kernels": ["SparseCodes"],
    "saekit.dictionaries": [
        "BatchTopK",
        "Dictionary",
        "EndToEnd",
        "Gated",
        "ITDA",
        "JumpReLU",
        "MatchingPursuit",
        "Method",
        "Provenance",
        "ReLU",
        "TopK",
        "Wiring",
        "methods",
    ],
    "saekit.formats": ["export", "load_dictionary"],
    "saekit.features": ["FeatureStore", "feature_map", "features_on"],
    "saekit.interventions": ["Edit", "edited", "spliced"],
    "saekit.metrics": ["Report", "evaluate", "match_concepts", "measure_latent_max"],
    "saekit.plots": ["tokens_view"],
    "saekit.training": ["Run", "train"],
    "saekit_widgets": ["FeatureBrowser", "TrainingMonitor"],
}
_PACKAGES = [
    "activations",
    "checks",
    "corpora",
    "dictionaries",
    "engines",
    "features",
    "formats",
    "interventions",
    "metrics",
    "models",
    "objectives",
    "plots",
    "training",
]
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, *_PACKAGES])

if TYPE_CHECKING:
    from saekit_kernels import SparseCodes as SparseCodes
    from saekit_widgets import FeatureBrowser as FeatureBrowser
    from saekit_widgets import TrainingMonitor as TrainingMonitor

    from saekit import activations as activations
    from saekit import checks as checks
    from saekit import metrics as metrics
    from saekit import plots as plots
    from saekit.activations import Activations as Activations
    from saekit.corpora import Corpus as Corpus
    from saekit.corpora import Document as Document
    from saekit.corpora import Span as Span
    from saekit.corpora import load_corpus as load_corpus
    from saekit.corpora import load_pairs as load_pairs
    from saekit.dictionaries import ITDA as ITDA
    from saekit.dictionaries import BatchTopK as BatchTopK
    from saekit.dictionaries import Dictionary as Dictionary
    from saekit.dictionaries import EndToEnd as EndToEnd
    from saekit.dictionaries import Gated as Gated
    from saekit.dictionaries import JumpReLU as JumpReLU
    from saekit.dictionaries import MatchingPursuit as MatchingPursuit
    from saekit.dictionaries import Method as Method
    from saekit.dictionaries import Provenance as Provenance
    from saekit.dictionaries import ReLU as ReLU
    from saekit.dictionaries import TopK as TopK
    from saekit.dictionaries import Wiring as Wiring
    from saekit.dictionaries import methods as methods
    from saekit.features import FeatureStore as FeatureStore
    from saekit.features import feature_map as feature_map
    from saekit.features import features_on as features_on
    from saekit.formats import export as export
    from saekit.formats import load_dictionary as load_dictionary
    from saekit.interventions import Edit as Edit
    from saekit.interventions import edited as edited
    from saekit.interventions import spliced as spliced
    from saekit.metrics import Report as Report
    from saekit.metrics import evaluate as evaluate
    from saekit.metrics import match_concepts as match_concepts
    from saekit.metrics import measure_latent_max as measure_latent_max
    from saekit.models import load_model as load_model
    from saekit.plots import tokens_view as tokens_view
    from saekit.training import Run as Run
    from saekit.training import train as train


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    elif name in _PACKAGES:
        value = importlib.import_module(f"saekit.{name}")
    elif name == "DictionaryConfiguration":
        raise ImportError("DictionaryConfiguration is called Method now: sk.Method.")
    else:
        raise AttributeError(f"module 'saekit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
