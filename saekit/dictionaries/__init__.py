"""Dictionaries: the contract every one keeps, and one file a method."""

from __future__ import annotations

from saekit.dictionaries.baselines import ICA, PCA, FrozenDecoder, Neurons, RandomDirections, fit
from saekit.dictionaries.batch_top_k import BatchTopK, BatchTopKDictionary
from saekit.dictionaries.contract import Dictionary, DictionaryConfiguration, check_model
from saekit.dictionaries.provenance import Provenance
from saekit.dictionaries.relu import ReLU, ReLUDictionary
from saekit.dictionaries.storage import read_dictionary, write_dictionary
from saekit.dictionaries.top_k import TopK, TopKDictionary

__all__ = [
    "ICA",
    "PCA",
    "BatchTopK",
    "BatchTopKDictionary",
    "Dictionary",
    "DictionaryConfiguration",
    "FrozenDecoder",
    "Neurons",
    "Provenance",
    "RandomDirections",
    "ReLU",
    "ReLUDictionary",
    "TopK",
    "TopKDictionary",
    "check_model",
    "fit",
    "read_dictionary",
    "write_dictionary",
]
