"""Dictionaries: the contract every one keeps, and one file a method."""

from __future__ import annotations

from saekit_kernels import SparseCodes

from saekit.dictionaries.baselines import ICA, PCA, FrozenDecoder, Neurons, RandomDirections
from saekit.dictionaries.batch_top_k import BatchTopK, BatchTopKDictionary
from saekit.dictionaries.dictionary import Activation, Dictionary
from saekit.dictionaries.embedded import available
from saekit.dictionaries.end_to_end import EndToEnd
from saekit.dictionaries.gated import Gated
from saekit.dictionaries.itda import ITDA
from saekit.dictionaries.jump_relu import JumpReLU
from saekit.dictionaries.linear import LinearDictionary, fused
from saekit.dictionaries.listing import Methods, methods
from saekit.dictionaries.matching_pursuit import MatchingPursuit
from saekit.dictionaries.method import Method, check_k
from saekit.dictionaries.nested import NestedDictionary, NestedMethod
from saekit.dictionaries.parts import LinearDecoder, LinearEncoder, Part, TiedEncoder
from saekit.dictionaries.provenance import Provenance, check_model
from saekit.dictionaries.reading import read_dictionary
from saekit.dictionaries.relu import ReLU, ReLUDictionary
from saekit.dictionaries.sites import check_one_site
from saekit.dictionaries.standardised import Standardised
from saekit.dictionaries.storage import latents_in, stored, write_dictionary
from saekit.dictionaries.top_k import TopK, TopKDictionary
from saekit.dictionaries.wiring import Wiring

__all__ = [
    "ICA",
    "ITDA",
    "PCA",
    "Activation",
    "BatchTopK",
    "BatchTopKDictionary",
    "Dictionary",
    "EndToEnd",
    "FrozenDecoder",
    "Gated",
    "JumpReLU",
    "LinearDecoder",
    "LinearDictionary",
    "LinearEncoder",
    "MatchingPursuit",
    "Method",
    "Methods",
    "NestedDictionary",
    "NestedMethod",
    "Neurons",
    "Part",
    "Provenance",
    "RandomDirections",
    "ReLU",
    "ReLUDictionary",
    "SparseCodes",
    "Standardised",
    "TiedEncoder",
    "TopK",
    "TopKDictionary",
    "Wiring",
    "available",
    "check_k",
    "check_model",
    "check_one_site",
    "fused",
    "latents_in",
    "methods",
    "read_dictionary",
    "stored",
    "write_dictionary",
]


def __getattr__(name: str) -> object:
    if name == "DictionaryConfiguration":
        raise ImportError("DictionaryConfiguration is called Method now: from saekit.dictionaries import Method.")
    if name == "fit":
        raise ImportError("fit is gone: sk.train(x, None, PCA(d_sae=8)).dictionary fits a baseline.")
    raise AttributeError(f"module 'saekit.dictionaries' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
