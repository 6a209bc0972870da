"""Text of one's own as a corpus: lists, files, folders, frames, and data sets of rows, chats among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from os import PathLike
from typing import Any

from saekit.corpora.corpus import Corpus
from saekit.corpora.documents import Document
from saekit.corpora.paths import first_few, is_file_name, tables_of
from saekit.corpora.rows import Reading, documents_of
from saekit.files.choices import unknown

TAKEN = "a corpus is a name, a path, a list of strings, rows or chats, a frame or a data set"


def own_corpus(
    source: Any, names: tuple[str, ...], split: str | None, n: int | None, seed: int, column: Any, tokenizer: Any
) -> Corpus:
    """The corpus of a source; see ``load_corpus``. names: of the corpora that ship, for errors."""
    source, split = _split(source, split)
    if isinstance(source, str | PathLike):
        name, endless = str(source), False

        def documents(reading: Reading) -> Iterator[Document]:
            for of, rows in tables_of(source, names, reading.left_out):
                yield from documents_of(rows, reading, of)
    else:
        begin, endless = _rows(source), _is_stream(source)
        name = _name(source, endless)

        def documents(reading: Reading) -> Iterator[Document]:
            return documents_of(begin(), reading)

    reading = Reading(column, tokenizer)
    if endless and n is None:
        return Corpus(lambda: _again_and_again(documents, reading), name=name, split=split, seed=seed)
    found = list(islice(documents(reading), n))
    _check(found, n, name, reading)
    _say(name, reading)
    kinds = sorted({document.kind for document in found})
    return Corpus(found, name=name, split=split, seed=seed, kinds=kinds, reading=reading.provenance)


def _again_and_again(documents: Callable[[Reading], Iterator[Document]], ever: Reading) -> Iterator[Document]:
    """A stream, begun again where it ends. The first row that is ``ever`` skipped is said: no end is known."""
    while True:
        reading, found = Reading(ever.column, ever.tokenizer), False
        for document in documents(reading):
            found = True
            if reading.skipped and not ever.skipped:
                ever.skip(reading.first)
                print(f"{reading.first} has no text and is skipped, as others like it are.")
            yield document
        if not found:
            none = (
                f"none of its {reading.skipped:,} rows has any text" if reading.skipped else "the data set has no rows"
            )
            raise ValueError(f"the corpus is empty: {none}.")


def _check(found: Sequence[Document], n: int | None, name: str, reading: Reading) -> None:
    if not found:
        skipped = f"; none of its {reading.skipped:,} rows has any" if reading.skipped else ""
        raise ValueError(f"the corpus is empty: {name} holds no text{skipped}.")
    if n is not None and n > len(found):
        raise ValueError(f"n={n:,} documents are asked for, but {name} holds {len(found):,}.")
    if reading.column is not None and not reading.columns:
        raise ValueError(f"column={reading.column!r} is of rows, and {name} holds texts without columns: leave it out.")


def _say(name: str, reading: Reading) -> None:
    """One line on what is not in the corpus."""
    said = []
    if reading.skipped:
        said.append(f"{reading.skipped:,} without text skipped (first {reading.first})")
    if reading.left_out:
        others = "other file" if len(reading.left_out) == 1 else "other files"
        said.append(f"{len(reading.left_out):,} {others} left out ({first_few(reading.left_out)})")
    if said:
        print(f"{name}: {'; '.join(said)}.")


def _split(source: Any, split: str | None) -> tuple[Any, str]:
    """The data set to read, and the name of its split; of several (a DatasetDict) the one that is asked for."""
    if isinstance(source, Mapping) and source and all(_is_data_set(each) for each in source.values()):
        if split is None and len(source) == 1:
            split = next(iter(source))
        if split is None:
            raise ValueError(f"a data set has splits, here {', '.join(source)}: say split={next(iter(source))!r}.")
        if split not in source:
            raise ValueError(unknown("the data set has no split", split, source))
        return source[split], split
    own = str(source.split) if _is_data_set(source) and getattr(source, "split", None) is not None else "train"
    if split not in (None, own):
        which = f"this data set is its split {own!r}" if own != "train" else "text of one's own has no splits"
        raise ValueError(f"{which}: leave out split={split!r}.")
    return source, own


def _is_data_set(source: Any) -> bool:
    """One of Hugging Face, held or streamed."""
    return hasattr(source, "features") and hasattr(source, "column_names")


def _is_stream(source: Any) -> bool:
    return not hasattr(source, "__len__")


def _name(source: Any, endless: bool) -> str:
    named = getattr(getattr(source, "info", None), "dataset_name", None)
    return str(named or ("stream" if endless else "list"))


def _rows(source: Any) -> Callable[[], Iterable[Any]]:
    """A function that begins to read the rows. Raises TypeError for what is no source of text, ValueError for paths."""
    if hasattr(source, "itertuples"):  # a frame of pandas; numbers, which are no text, may be empty cells too
        frame = source.select_dtypes(exclude=["number", "bool", "datetime", "timedelta"])
        return lambda: (dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None))
    if hasattr(source, "iter_rows"):  # a frame of polars
        return lambda: source.iter_rows(named=True)
    if hasattr(source, "to_pylist"):  # of Arrow
        return source.to_pylist
    if isinstance(source, list | tuple) and source and all(map(is_file_name, source)):
        raise ValueError(f"a list holds texts, and {source[0]!r} is a file: pass its path alone, or the folder.")
    if isinstance(source, Iterator):
        raise TypeError("an iterator can be read once, a corpus is read again: pass a list, or a data set.")
    if isinstance(source, Set):
        raise TypeError("a set has no order, which a corpus has: pass sorted(…) of it.")
    if isinstance(source, Mapping | bytes | bytearray):
        keys = f" with the keys {', '.join(map(repr, source))}: pass the list" if isinstance(source, Mapping) else ""
        raise TypeError(f"{TAKEN}, found {type(source).__name__}{keys}.")
    if isinstance(source, Iterable):
        return lambda: source
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return lambda: (source[place] for place in range(len(source)))
    raise TypeError(f"{TAKEN}, found {type(source).__name__}.")
