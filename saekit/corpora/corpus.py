"""Corpus: documents in a fixed order, what they label, and a fingerprint of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from saekit.corpora.documents import Document
from saekit.corpora.draw import corpus_html
from saekit.files.roles import CORPUS

FINGERPRINTED = 1_000  # documents of an endless stream that go into its fingerprint


class Corpus:
    """Documents in a fixed order. Iterating twice gives the same documents.

    documents: a sequence (a finite corpus, with `len()` and `[i]`), or a function that returns a new iterator (an
    endless one).
    reading: how text of one's own was read, where that is worth a record: its columns, and how many rows were skipped.
    name, split, seed: what it is called in provenances and reports. kinds: of its documents. concepts: those that
    its spans can name; None: those that they do.
    """

    role: ClassVar[str] = CORPUS

    def __init__(
        self,
        documents: Sequence[Document] | Callable[[], Iterator[Document]],
        *,
        name: str,
        split: str = "train",
        seed: int = 0,
        kinds: Sequence[str] = ("text",),
        concepts: Sequence[str] | None = None,
        reading: Mapping[str, Any] | None = None,
    ):
        self.name = name
        self.split = split
        self.seed = seed
        self.kinds = tuple(kinds)
        self.reading = dict(reading or {})
        self.endless = callable(documents)
        self._stream = documents if callable(documents) else None
        self._documents = () if callable(documents) else tuple(documents)
        self._concepts = None if concepts is None else tuple(sorted(concepts))
        self._fingerprint: str | None = None

    def __iter__(self) -> Iterator[Document]:
        return self._stream() if self._stream is not None else iter(self._documents)

    def __len__(self) -> int:
        self._must_be_finite("has no length")
        return len(self._documents)

    def __getitem__(self, index: int) -> Document:
        self._must_be_finite("cannot be indexed")
        return self._documents[index]

    def _must_be_finite(self, what: str) -> None:
        if self.endless:
            raise TypeError(
                f"the {self.split} split of {self.name!r} is an endless stream and {what}: "
                "iterate over it, or pass n= to load_corpus."
            )

    def __bool__(self) -> bool:
        return self.endless or bool(self._documents)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Every concept that a span of this corpus can name, sorted. For an endless stream: those of its first 1,000
        documents."""
        if self._concepts is None:
            self._concepts = tuple(sorted({span.concept for document in self._first() for span in document.spans}))
        return self._concepts

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) over texts and spans, in order; of an endless stream over its first 1,000 documents."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for document in self._first():
                # Lengths before contents, so that no two corpora can run together to the same bytes.
                text = document.text.encode("utf-8", "surrogatepass")
                spans = "".join(f"{span.start},{span.end},{span.concept};" for span in document.spans).encode()
                digest.update(b"%d,%d\n" % (len(text), len(spans)) + text + spans)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @property
    def shares(self) -> dict[str, float]:
        """Share of the characters that each kind makes, the largest first; of an endless stream in its first 1,000
        documents."""
        count: Counter[str] = Counter()
        for document in self._first():
            count[document.kind] += len(document.text)
        total = max(1, sum(count.values()))
        return {kind: characters / total for kind, characters in count.most_common()}

    def _first(self) -> Iterator[Document]:
        return islice(iter(self), FINGERPRINTED) if self.endless else iter(self)

    @property
    def provenance(self) -> dict[str, Any]:
        """What a dictionary trained on this corpus records of it."""
        return {
            "name": self.name,
            "split": self.split,
            "seed": self.seed,
            "kinds": list(self.kinds),
            "n": None if self.endless else len(self._documents),
            "fingerprint": self.fingerprint,
        } | self.reading

    def __repr__(self) -> str:
        size = "endless" if self.endless else f"{len(self._documents):,} documents"
        read = "".join(f", {name}={value!r}" for name, value in self.reading.items())
        return f"Corpus({self.name!r}, split={self.split!r}, seed={self.seed}, {size}, kinds={list(self.kinds)}{read})"

    def _repr_html_(self) -> str:
        size = "endless stream" if self.endless else f"{len(self):,} documents"
        read = "".join(f" · {name} {value}" for name, value in self.reading.items())
        return corpus_html(self, f"{self.name} · {self.split} · seed {self.seed} · {size}{read}", self.shares)
