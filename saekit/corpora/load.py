"""load_corpus: one name for the corpora that ship and for text of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import Any

from saekit.corpora import microworld, pipelines
from saekit.corpora.corpus import Corpus
from saekit.corpora.documents import Document
from saekit.corpora.own import own_corpus
from saekit.corpora.python_library import documents as python_library
from saekit.corpora.python_library import labels as python_labels
from saekit.files.arguments import number, whole
from saekit.files.choices import unknown

NAMES = ("microworld", "python", "pipelines")
SPLITS = ("train", "heldout", "unseen_dev", "unseen")
PER_KIND = 500  # documents of each kind in a finite split


def load_corpus(
    source: str | PathLike[str] | Sequence[str | Document] | Any,
    split: str | None = None,
    *,
    n: int | None = None,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    correlation: float | None = None,
    installed: bool = False,
    column: str | None = None,
    tokenizer: Any = None,
) -> Corpus:
    """A corpus of labelled documents, or of text of one's own.

    source: "microworld" (English-like, its generator labels every span), "python" (the frozen standard library of
        Python 3.11, labelled by its parser), "pipelines" (a kind of document that the embedded model never read, for a
        copy that is fine-tuned on it), or text of one's own, UTF-8:
        a list of strings (an array, a Series), Documents, rows (mappings with columns) or chats (lists of turns, each
            with role and content);
        a frame of pandas, polars or Arrow, or a Hugging Face data set; a streamed one is endless: it is read again and
            again;
        a file: .jsonl (.ndjson), .json, .csv (.tsv) and .parquet hold rows (the first line of a .csv names its
            columns), any other is text, of one document, or of several where <|endoftext|> or <|end_of_text|> stands
            between them; each may be packed (.gz, .bz2, .zst);
        a folder: its files of rows, .txt and .md, by name; hidden ones are not read, others are said.
    split: "train" (the default) is an endless seeded stream. "heldout" has fillers and combinations of trained phrases
        that training never has; "unseen_dev" and "unseen" have phrases never trained on (develop on the one, look at
        the other for final numbers alone). For "python" the three are disjoint sets of modules. They are finite: 500
        documents a kind; "python" and "pipelines" have one kind. Of a Hugging Face DatasetDict: the split to read.
    n: the first n documents only, in the same order, and no more is read than they need; a stream becomes finite.
    seed: of the stream and its documents.
    kinds: some kinds of the microworld only.
    correlation: share of the microworld's biographies, 0 to 1, whose profession is one that the microworld gives to
        their gender; default: .85 in train, none in the other splits.
    installed: for "python", the library of the running interpreter in place of the frozen one, which is the same on
        every machine.
    column: of rows, the one with the text or the chat; default: a chat ("messages" and the like), "text", or the only
        column of strings.
    tokenizer: writes chats by its chat template; default the template of micro.

    Rows without text (None, nan, "", a chat in which nothing is said) are skipped, counted and said. The same arguments
    give the same bytes on every Python and system.
    Returns a Corpus: iterate over it, or give it to ``sk.train``, ``sk.evaluate`` …; ``sk.corpora.available()`` lists
    those that ship. For example ``sk.load_corpus("microworld", split="heldout")``, ``sk.load_corpus("notes.jsonl")``.
    Raises ValueError for an unknown name, split, kind or column, for an empty corpus, for n beyond what a split holds,
    and for what is not text or not a text file; FileNotFoundError for a path that does not exist; TypeError for what is
    no source of text."""
    n = None if n is None else whole("n", n)
    seed = whole("seed", seed, least=0)
    if isinstance(source, Corpus):
        return _first(source, n, split)
    if not (isinstance(source, str) and source in NAMES):
        if kinds is not None or correlation is not None or installed:
            raise ValueError(
                f"text of one's own has no kinds and correlation: leave out kinds={kinds!r}, "
                f"correlation={correlation!r} and installed={installed!r}."
            )
        return own_corpus(source, NAMES, split, n, seed, column, tokenizer)
    split = "train" if split is None else split
    if split not in SPLITS:
        raise ValueError(unknown("there is no split", split, SPLITS))
    if column is not None:
        raise ValueError(f"column= is of rows, found {column!r} for {source!r}, which has none.")
    _check_dials(source, correlation, installed)
    if source == "microworld":
        chosen = _check_kinds(kinds, tuple(microworld.KINDS))
        return _microworld(split, n, seed, chosen, _check_correlation(correlation))
    _check_kinds(kinds, (python_library.KIND if source == "python" else pipelines.KIND,))
    return _python(split, n, seed, installed) if source == "python" else _pipelines(split, n, seed)


def _first(corpus: Corpus, n: int | None, split: str | None) -> Corpus:
    """The first n documents of a corpus that there is; itself where all are meant."""
    if split not in (None, corpus.split):
        raise ValueError(f"this corpus is the split {corpus.split!r} of {corpus.name!r}, not {split!r}: load that one.")
    if n is None:
        return corpus
    documents = tuple(islice(iter(corpus), n))
    if len(documents) < n:
        raise ValueError(f"n={n:,} documents are asked for, but the corpus holds {len(documents):,}.")
    return Corpus(documents, name=corpus.name, split=corpus.split, seed=corpus.seed, kinds=corpus.kinds)


def _check_dials(source: str, correlation: float | None, installed: bool) -> None:
    """Raise ValueError for what another corpus alone has."""
    if installed and source != "python":
        what = "the microworld is" if source == "microworld" else f"{source} are"
        raise ValueError(f"installed=True is for 'python': {what} not installed anywhere.")
    if correlation is not None and source != "microworld":
        raise ValueError(f"correlation is of the microworld's biographies, found {correlation!r} for {source!r}.")


def _check_correlation(correlation: float | None) -> float | None:
    if correlation is None:
        return None
    share = number("correlation", correlation, least=0)
    if share > 1:
        raise ValueError(f"correlation is a share of the microworld's biographies, 0 to 1, found {correlation!r}.")
    return share


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


def _pipelines(split: str, n: int | None, seed: int) -> Corpus:
    documents: Sequence[Document] | Callable[[], Iterator[Document]]
    if split == "train":
        documents = (lambda: pipelines.stream(seed)) if n is None else tuple(islice(pipelines.stream(seed), n))
    else:
        _check_room(n, PER_KIND, "pipelines", split)
        documents = tuple(pipelines.document(split, seed, number) for number in range(n or PER_KIND))
    return Corpus(documents, name="pipelines", split=split, seed=seed, kinds=(pipelines.KIND,))


def _check_kinds(kinds: Sequence[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if kinds is None:
        return known
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
