"""The first half of building a store over arrays of one's own: rows stand where tokens do, each a document of its own.

A row has no text before it or after it, so nothing is said of logits, losses or concepts; whatever is said of tokens
elsewhere holds of rows here. Chunks are those of ``reading``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.activations import Activations
from saekit.activations.arrays import as_array
from saekit.activations.finite import check_finite
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import coded
from saekit.features.building.near_misses import NearMisses
from saekit.features.building.reading import CHUNK_TOKENS, ENCODED_AT_ONCE, Progress, by_latent
from saekit.features.schema import NEAR_TOKENS
from saekit.files.stopping import Stop
from saekit.models import SeveralModels
from saekit.models.hashing import hash_tensors

KIND = "row"  # of every document


@dataclass(frozen=True)
class ArrayReader:
    """Reads chunks of arrays [n, d] by the sites that the dictionary reads. texts: a string a row, or None."""

    dictionary: Dictionary
    arrays: Mapping[str, Tensor]
    texts: Sequence[str] | None
    wanted: int
    concepts: Sequence[str] = ()

    @classmethod
    def of(cls, x: Any, dictionary: Dictionary, strings: Any, tokens: int | None) -> ArrayReader:
        """From what FeatureStore.build was given; tokens: rows to read. Raises ValueError for arrays that are not the
        dictionary's, or not as long as each other or the strings."""
        arrays = _arrays(x, dictionary)
        n = len(next(iter(arrays.values())))
        return cls(dictionary, arrays, _texts(strings, n), n if tokens is None else min(tokens, n))

    @property
    def provenance(self) -> dict[str, Any]:
        """Of no model and no corpus: how many rows, and the SHA-256 of these and their strings."""
        digest = hashlib.sha256(hash_tensors(list(self.arrays), lambda site: self.arrays[site]).encode())
        for text in self.texts or ():
            digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        rows = len(next(iter(self.arrays.values())))
        none = {"model": None, "model_hash": None, "processing": "none", "corpus": None}
        return none | {"arrays": {"rows": rows, "fingerprint": digest.hexdigest()}}

    def vocabulary(self) -> tuple[list[bytes], list[bool]]:
        """The text of each token id: equal strings are one; without strings the numbers of the rows."""
        words = list(dict.fromkeys(self.texts)) if self.texts is not None else [f"row {i}" for i in range(self.wanted)]
        return [word.encode("utf-8", "replace") for word in words], [False] * len(words)

    def read(
        self, progress: Progress, told: Callable[[int], object], stop: Stop
    ) -> Iterator[tuple[dict[str, Tensor], Progress]]:
        """Chunks and where the pass stands after each; stopped, it ends with what the chunk has by then. Raises
        ValueError for NaN or infinite activations."""
        tokens, first, begun = self._tokens(), progress.counted, progress.chunk
        while first < self.wanted and not stop.asked:
            end = min(begun + CHUNK_TOKENS, self.wanted)
            chunk, first = self._chunk(first, begun, tokens[first:end], told, stop)
            begun = first if first == end else begun
            yield chunk, Progress(documents=first, counted=first, places=first, chunk=begun, kinds={KIND: first})

    def _tokens(self) -> Tensor:
        if self.texts is None:
            return torch.arange(self.wanted, dtype=torch.int32)
        number = {text: i for i, text in enumerate(dict.fromkeys(self.texts))}
        return torch.tensor([number[text] for text in self.texts], dtype=torch.int32)

    def _chunk(
        self, first: int, begun: int, tokens: Tensor, told: Callable[[int], object], stop: Stop
    ) -> tuple[dict[str, Tensor], int]:
        """The rows from the first on, of the chunk that begun there, and where they end."""
        sae, n = self.dictionary, len(tokens)
        near = NearMisses(sae) if begun < NEAR_TOKENS else None
        codes: list[SparseCodes] = []
        for start in range(0, n, ENCODED_AT_ONCE):
            if stop.asked and start:
                n = start
                break
            end = min(start + ENCODED_AT_ONCE, n)
            x = {site: array[first + start : first + end].to(sae.latent_max) for site, array in self.arrays.items()}
            for site, rows in x.items():
                check_finite(rows, site, (first + start) // ENCODED_AT_ONCE)
            found = [some.codes.detach().to("cpu") for some in coded(sae, [x], ENCODED_AT_ONCE)]
            codes += found
            if near is not None:
                near.add_apart(x, SparseCodes.cat(found), torch.arange(start, end))
            told(end - start)
        place = torch.arange(n, dtype=torch.int32)
        columns = {"token": tokens[:n].int(), "document": place + first, "position": torch.zeros_like(place)}
        columns |= {"row_first": place, "row_last": place.clone(), "counted": torch.ones(n, dtype=torch.bool)}
        columns |= {"chooses": (place + first) % 2 == 0, "document_kind": torch.zeros(n, dtype=torch.int16)}
        columns |= {
            "label_place": torch.empty(0, dtype=torch.int32),
            "label_concept": torch.empty(0, dtype=torch.int16),
        }
        columns |= {"chunk": torch.tensor([begun])}
        columns |= by_latent(codes, place.long(), sae.d_sae)
        return columns | (near.tensors() if near is not None else {}), first + n


def is_arrays(given: Any) -> bool:
    """Whether what stands where a model does is an array, several by site, or the path of one."""
    named = isinstance(given, Mapping | Activations) and not isinstance(given, SeveralModels)
    return named or (
        not hasattr(given, "hook_dict")
        and (isinstance(given, str) or hasattr(given, "__array__") or hasattr(given, "__fspath__"))
    )


def _arrays(x: Any, dictionary: Dictionary) -> dict[str, Tensor]:
    widths = dictionary.read_widths
    if isinstance(x, Activations):
        x = {site: x.flat(site) for site in widths if site in x}
    if not isinstance(x, Mapping):
        if len(widths) > 1:
            raise ValueError(f"the dictionary reads {', '.join(widths)}: give a mapping from each to its array.")
        x = {next(iter(widths)): x}
    if missing := [site for site in widths if site not in x]:
        raise ValueError(f"the dictionary reads {missing[0]!r}, found arrays of {', '.join(map(str, x)) or 'none'}.")
    arrays = {site: as_array(x[site], "x" if len(widths) == 1 else f"x[{str(site)!r}]") for site in widths}
    for site, array in arrays.items():
        if array.ndim != 2 or array.shape[1] != widths[site] or not len(array):
            raise ValueError(
                f"x is an array [n, {widths[site]}] of what the dictionary reads at {str(site)!r}, n from 1, found "
                f"shape {list(array.shape)}."
            )
        if len(array) != len(next(iter(arrays.values()))):
            raise ValueError(f"arrays have the same rows, found {[len(each) for each in arrays.values()]} of them.")
    return arrays


def _texts(strings: Any, n: int) -> list[str] | None:
    if strings is None:
        return None
    sized = hasattr(strings, "__len__") and not isinstance(strings, str | Corpus)
    if not sized or len(strings) != n:
        found = f"{len(strings)} of them" if sized else repr(strings)
        raise ValueError(f"over an array there is a string a row, {n:,}, or None for row numbers; found {found}.")
    texts = list(strings)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"over an array there is a string a row; at row {row} is {text!r}.")
    return [str(text) for text in texts]
