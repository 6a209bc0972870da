"""Text: the labelled microworld, the frozen Python library, pipelines, files and lists of one's own, mixtures of them,
and prompt pairs for circuits.

Importing it loads no torch; ``planted``, whose arrays are tensors, is imported by itself."""

from __future__ import annotations

from saekit.corpora.corpus import Corpus
from saekit.corpora.documents import Document, Span
from saekit.corpora.embedded import available
from saekit.corpora.load import load_corpus
from saekit.corpora.mixing import mixed
from saekit.corpora.pairs import Pair, Pairs, load_pairs

__all__ = ["Corpus", "Document", "Pair", "Pairs", "Span", "available", "load_corpus", "load_pairs", "mixed"]


def __dir__() -> list[str]:
    return [*__all__]
