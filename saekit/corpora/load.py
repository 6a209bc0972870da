"""load_corpus: one name for the corpora that ship and for text of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import Any

from saekit.corpora import microworld
from saekit.corpora.corpus import Corpus
from saekit.corpora.documents import Document
from saekit.corpora.own import documents_of
from saekit.corpora.python_library import documents as python_library
from saekit.corpora.python_library import labels as python_labels
from saekit.files.choices import unknown

NAMES = ("microworld", "python")
SPLITS = ("train", "heldout", "unseen_dev", "unseen")
PER_KIND = 500  # documents of each kind in a finite split


def load_corpus(
    source: str | PathLike[str] | Sequence[str | Document] | Any,
    split: str = "train",
    *,
    n: int | None = None,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    correlation: float | None = None,
    installed: bool = False,
    tokenizer: Any = None,
) -> Corpus:
    """A corpus of labelled documents, or of text of one's own.

    source: "microworld" (English-like, its generator labels every span), "python" (the frozen standard library of
        Python 3.11, labelled by its parser), a list of strings, Documents or rows, a .txt file (one document), a folder
        of .txt files (one document each), UTF-8, or a Hugging Face data set. Rows have a column "text", or a chat
        ("messages": role and content). A streamed data set is endless: it is read again and again.
    split: "train" is an endless seeded stream. "heldout" has fillers and combinations of trained phrases that training
        never has; "unseen_dev" and "unseen" have phrases never trained on (develop on the one, look at the other for
        final numbers alone). For "python" the three are disjoint sets of modules. They are finite: 500 documents a
        kind; "python" has one kind.
    n: the first n documents only, in the same order; a stream becomes finite.
    kinds: some kinds of the microworld only.
    correlation: share of the microworld's biographies, 0 to 1, whose profession is one that the microworld gives to
        their gender; default: .85 in train, none in the other splits.
    installed: for "python", the library of the running interpreter in place of the frozen one, which is the same on
        every machine.
    tokenizer: writes the chats of a data set by its chat template; default the template of micro.

    The same arguments give the same bytes on every Python and system.
    Raises ValueError for an unknown name, split or kind, for an empty corpus, for n beyond what a split holds and for
    text that is not UTF-8; FileNotFoundError for a path that does not exist."""
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1 document, found {n}.")
    if isinstance(source, str) and source in NAMES:
        if split not in SPLITS:
            raise ValueError(unknown("there is no split", split, SPLITS))
        world = source == "microworld"
        known = tuple(microworld.KINDS) if world else (python_library.KIND,)
        chosen = _check_kinds(known if kinds is None else kinds, known)
        if correlation is not None and not (world and 0 <= correlation <= 1):
            raise ValueError(
                f"correlation is a share of the microworld's biographies, 0 to 1, found {correlation!r} for {source!r}."
            )
        if installed and world:
            raise ValueError("installed=True is for 'python': the microworld is not installed anywhere.")
        return _microworld(split, n, seed, chosen, correlation) if world else _python(split, n, seed, installed)
    if split != "train" or kinds is not None or correlation is not None:
        raise ValueError(
            f"text of one's own has no splits, kinds and correlation: leave out split={split!r}, kinds={kinds!r} and "
            f"correlation={correlation!r}."
        )
    name, documents = documents_of(source, NAMES, tokenizer)
    if callable(documents) and n is None:
        return Corpus(documents, name=name, split=split, seed=seed, kinds=("text",))
    found = list(islice(documents() if callable(documents) else documents, n))
    if not found:
        raise ValueError(f"the corpus is empty: {name} holds no text.")
    if n is not None and n > len(found):
        raise ValueError(f"n={n:,} documents are asked for, but {name} holds {len(found):,}.")
    return Corpus(found, name=name, split=split, seed=seed, kinds=sorted({document.kind for document in found}))


def _microworld(split: str, n: int | None, seed: int, kinds: tuple[str, ...], correlation: float | None) -> Corpus:
    def stream() -> Iterator[Document]:
        return microworld.stream(kinds, seed, correlation)

    documents: Sequence[Document] | Callable[[], Iterator[Document]]
    if split == "train":
        documents = stream if n is None else tuple(islice(stream(), n))
    else:
        # One of each kind in turn, so that the first documents already show every kind.
        holds = PER_KIND * len(kinds)
        _check_room(n, holds, "microworld", split)
        documents = tuple(
            microworld.document(kinds[number % len(kinds)], split, seed, number // len(kinds), correlation)
            for number in range(n or holds)
        )
    return Corpus(documents, name="microworld", split=split, seed=seed, kinds=kinds)


def _python(split: str, n: int | None, seed: int, installed: bool) -> Corpus:
    documents: Sequence[Document] | Callable[[], Iterator[Document]]
    if split == "train":
        documents = (
            (lambda: python_library.stream(seed, installed))
            if n is None
            else tuple(islice(python_library.stream(seed, installed), n))
        )
    else:
        documents = python_library.finite(split, seed, PER_KIND, installed)
        _check_room(n, len(documents), "python", split)
        documents = documents[:n]
    kinds = (python_library.KIND,)
    name = "python (installed)" if installed else "python"
    return Corpus(documents, name=name, split=split, seed=seed, kinds=kinds, concepts=python_labels.CONCEPTS)


def _check_kinds(kinds: Sequence[str], known: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(kinds, str):
        kinds = (kinds,)
    for kind in kinds:
        if kind not in known:
            raise ValueError(unknown("there is no kind", kind, known))
    if not kinds:
        raise ValueError(f"kinds is empty: choose some of {', '.join(map(repr, known))}, or leave it out for all.")
    return tuple(kind for kind in known if kind in kinds)


def _check_room(n: int | None, holds: int, name: str, split: str) -> None:
    if n is not None and n > holds:
        raise ValueError(f"n={n:,} documents are asked for, but {split} of {name!r} holds {holds:,} with these kinds.")
