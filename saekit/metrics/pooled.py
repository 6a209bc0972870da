"""Pooled codes: one row of latents a document, for classifying, clustering and comparing texts.

Of the tokens t of a document: max_t z_ti, their mean or sum (tokens at which a latent is off count 0), or binarised: 1
where Σ_t z_ti > 1 (Gallifant et al. 2025, arXiv 2502.11367).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from saekit_kernels import SparseCodes
from saekit_kernels.sparse_codes import offsets_of
from torch import Tensor

from saekit.activations.source import Readable
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import Coded
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.choices import checked
from saekit.files.roles import CORPUS, DICTIONARY, MODEL, MODELS, RUN, check_roles
from saekit.metrics.intervals import Numbers, as_numpy, numbered
from saekit.metrics.metric import Metric, Number

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

WAYS = {
    "max": "the largest z over the document's tokens",
    "mean": "the mean of z over the document's tokens, 0 where a latent is off",
    "sum": "the sum of z over the document's tokens",
    "binarised": "1 where the sum of z over the document's tokens is above {above:g}",
}
SHOWN = 8


@dataclass(frozen=True, eq=False)
class Pooled:
    """Codes of documents. codes: SparseCodes of a row a document. documents: their numbers or names, in that order.
    tokens: how many counted tokens each has. how, above: as asked for."""

    codes: SparseCodes
    documents: list[Any]
    tokens: Int[Tensor, " documents"]
    how: str
    above: float = 1.0

    @property
    def definition(self) -> str:
        """The equation in words."""
        return WAYS[self.how].format(above=self.above)

    def frame(self, latents: Sequence[int] | None = None) -> pandas.DataFrame:
        """A row a document; a column a latent, sparse. latents: only these few."""
        import pandas

        index = pandas.Index(self.documents, name="document")
        if latents is not None:
            dense = self.codes.latent(list(latents)).detach().cpu().numpy()
            return pandas.DataFrame(dense, index=index, columns=list(latents))
        return pandas.DataFrame.sparse.from_spmatrix(as_csr(self.codes), index=index)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.documents)

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self._rows(), more=".frame()")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self._rows(), caption=f"{len(self):,} documents, the first ones: {self.definition}")

    def _rows(self) -> list[dict[str, Any]]:
        """The first documents and their strongest latents."""
        rows = []
        for place, document in enumerate(self.documents[:SHOWN]):
            own = self.codes[place : place + 1]
            strongest = own.values.argsort(descending=True)[:5]
            named = ", ".join(f"{int(own.indices[i])} ({float(own.values[i]):.3g})" for i in strongest)
            l0 = int((own.values != 0).sum())
            rows.append({"document": document, "tokens": int(self.tokens[place]), "L0": l0, "strongest": named})
        return rows


def as_csr(codes: SparseCodes) -> Any:
    """Codes as SciPy's compressed rows."""
    from scipy.sparse import csr_matrix

    parts = (codes.values.detach(), codes.indices.long(), codes.offsets)
    return csr_matrix(tuple(part.cpu().numpy() for part in parts), (len(codes.offsets) - 1, codes.d_sae))


def pool(codes: SparseCodes, documents: Numbers, how: str = "max", above: float = 1.0) -> Pooled:
    """Codes of tokens as one row a document.

    codes:     of n tokens. documents: [n], the document of each, by number or name.
    how:       "max", "mean", "sum" or "binarised". above: what a sum must exceed to be 1 there.
    Returns ``Pooled``: ``.codes``, SparseCodes of a row a document, and ``.frame()``. For example
    ``sk.metrics.pool(sae.encode(x), documents, how="mean")``.
    Raises ValueError for another way, and another number of documents than tokens.
    """
    pooling = _Pooling(how, above)
    given = as_numpy(documents)
    number = numbered(given, len(codes.offsets) - 1)
    pooling.add(codes, torch.from_numpy(number))
    return pooling.result(np.unique(given).tolist())


def pooled_codes(
    model: TransformerBridge | Any,
    dictionary: Dictionary | Any,
    corpus: Readable,
    tokens: int | None = None,
    *,
    how: str = "max",
    above: float = 1.0,
    exclude: Sequence[str] | str = (),
    context: int | None = None,
) -> Pooled:
    """``pool`` of a corpus: the codes of its documents, read in one pass in bounded memory.

    model:     what the dictionary was made on, several by their names. dictionary: or the run that trained it.
    corpus:    what ``load_corpus`` gives, a list of strings, or token ids (a row is a document).
    tokens:    counted ones that are read, from the beginning; None: all.
    how, above: as in ``pool``. exclude, context: as in ``evaluate``.
    Returns ``Pooled``, whose documents are their numbers in the corpus; one without a counted token is not there. For
    example ``sk.metrics.pooled_codes(model, sae, ["Anna went home.", "Peter did not."], how="mean").frame()``.
    Raises ValueError as ``evaluate`` does.
    """
    from saekit.metrics.running import run

    call = "sk.metrics.pooled_codes(model, dictionary, corpus)"
    models = (model, (MODEL, MODELS))
    check_roles(call, model=models, dictionary=(dictionary, (DICTIONARY, RUN)), corpus=(corpus, CORPUS))
    metric = _OfDocuments(_Pooling(how, above))
    run(model, dictionary_of(dictionary), corpus, tokens, [metric], exclude=exclude, context=context)
    return metric.pooling.result()


class _OfDocuments(Metric):
    """The pooling as what ``run`` gives its batches to."""

    def __init__(self, pooling: _Pooling) -> None:
        self.pooling = pooling

    def update(self, batch: Coded) -> None:
        self.pooling.add(batch.codes, batch.beside["documents"])

    def result(self) -> Number | None:
        return None


class _Pooling:
    """Entries (document, latent) with the sum, the largest and the number of the codes there, batch after batch."""

    def __init__(self, how: str, above: float) -> None:
        self.how, self.above = checked("how", how, WAYS), above
        self.d_sae = 0
        self.tokens = torch.zeros(0, dtype=torch.int64)  # of each document
        self.entries = [(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.float64))]
        self.waiting = 0  # entries after the first part, which are joined with it when they are as many

    def add(self, codes: SparseCodes, documents: Int[Tensor, " n"]) -> None:
        """documents: the number of each token's."""
        documents, self.d_sae = documents.cpu(), codes.d_sae
        if len(documents):
            count = max(len(self.tokens), int(documents.max()) + 1)
            self.tokens = torch.cat([self.tokens, self.tokens.new_zeros(count - len(self.tokens))])
            self.tokens += torch.bincount(documents, minlength=count)
        values = codes.values.detach().cpu().double()
        keys = documents[codes.rows.cpu()] * self.d_sae + codes.indices.cpu().long()
        self.entries.append((keys, torch.stack([values, values, torch.ones_like(values)], 1)))
        self.waiting += len(keys)
        if self.waiting > len(self.entries[0][0]):
            self._join()

    def _join(self) -> None:
        """Entries of the same document and latent as one."""
        keys, numbers = (torch.cat(parts) for parts in zip(*self.entries, strict=True))
        keys, place = keys.unique(return_inverse=True)
        joined = numbers.new_zeros(len(keys), 3).index_add_(0, place, numbers)
        joined[:, 1] = torch.full_like(joined[:, 1], -torch.inf).scatter_reduce_(0, place, numbers[:, 1], "amax")
        self.entries, self.waiting = [(keys, joined)], 0

    def result(self, names: Sequence[Any] | None = None) -> Pooled:
        """names: of the documents; None: their numbers."""
        self._join()
        keys, numbers = self.entries[0]
        kept = (self.tokens > 0).nonzero()[:, 0]
        rows = (self.tokens > 0).cumsum(0)[keys // max(1, self.d_sae)] - 1
        sums, largest, times = numbers.unbind(1)
        tokens = self.tokens[kept]
        if self.how == "max":
            values = torch.where(times < tokens[rows], largest.clamp_min(0), largest)
        elif self.how == "mean":
            values = sums / tokens[rows]
        else:
            values = sums if self.how == "sum" else (sums > self.above).to(sums)
        offsets = offsets_of(rows, len(kept))
        latents = (keys % max(1, self.d_sae)).int()
        z = SparseCodes(values.float(), latents, offsets, self.d_sae, (len(kept),))
        z = z.keep(z.values != 0)
        documents = kept.tolist() if names is None else [names[number] for number in kept.tolist()]
        return Pooled(z, documents, tokens, self.how, self.above)
