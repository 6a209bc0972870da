"""Rows of a file or a folder: text as it is, tables a row at a time and no more of them than are asked for."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from saekit.files.choices import unknown

SEPARATOR = re.compile(r"<\|endoftext\|>|<\|end_of_text\|>")
"""Where one document of a text file ends. Not `</s>` and `<eos>`, which are words of HTML and of tagged text too."""
COMPRESSED = (".gz", ".bz2", ".zst")
SAVED = ("state.json", "dataset_info.json", "dataset_dict.json")  # of a data set on disk
LONGEST = 120  # characters of a name in an error


def tables_of(source: str | PathLike[str], names: tuple[str, ...], left_out: list[str]) -> Iterator[tuple[str, Any]]:
    """The tables of a path: what to call it in errors, such as " of a.csv", and an iterator over its rows.

    names: of corpora, for errors; left_out: gets the files of a folder that are no text.
    Raises ValueError for what is not text and for a text in place of a path; FileNotFoundError."""
    path = _existing(source, names)
    if path.is_file():
        yield f" of {path.name}", rows_of(path)
        return
    if saved := next((name for name in SAVED if (path / name).is_file()), None):
        raise ValueError(
            f"{path} is a data set on disk (it holds {saved}): pass datasets.load_from_disk({str(path)!r})."
        )
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file.relative_to(path))]
    files = [file for file in files if file.stat().st_size]
    left_out.extend(str(file.relative_to(path)) for file in files if kind(file) not in (*TEXT, *TABLES))
    read = [file for file in files if kind(file) in (*TEXT, *TABLES)]
    if not read and left_out:
        raise ValueError(
            f"the corpus is empty: the folder {path} has no {', '.join((*TEXT, *TABLES))}, but "
            f"{first_few(left_out)}; a file given by itself is read as text."
        )
    for file in read:
        yield f" of {file.relative_to(path)}", rows_of(file)


def is_file_name(given: Any) -> bool:
    """Whether this is a path of a file that is there, and no text."""
    short = isinstance(given, str | PathLike) and len(str(given)) < LONGEST * 2
    return short and bool(Path(given).suffix) and Path(given).is_file()


def first_few(names: list[str], few: int = 3) -> str:
    """The first names, and how many there are beside."""
    more = len(names) - few
    return ", ".join(names[:few]) + (f" and {more:,} more" if more > 0 else "")


def kind(path: Path) -> str:
    """The ending that says what is in a file, without that of its compression."""
    endings = [ending.lower() for ending in path.suffixes]
    return next((ending for ending in reversed(endings) if ending not in COMPRESSED), "")


def rows_of(path: Path) -> Iterator[Any]:
    """Strings or mappings. Raises ValueError naming the file where it is not what its ending says."""
    try:
        yield from TABLES.get(kind(path), texts)(path)
    except (OSError, csv.Error, json.JSONDecodeError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # no right to read it
        raise ValueError(f"{path} is not whole, or not what its ending says: {error}.") from error


def texts(path: Path) -> Iterator[str]:
    """A text file's documents: one, or those between separators, without the line breaks around these."""
    parts: list[str] = []
    separated = False
    for line in lines(path):
        *ended, rest = SEPARATOR.split(line.replace("\r\n", "\n"))
        separated = separated or bool(ended)
        for piece in ended:
            document = "".join([*parts, piece]).strip("\n")
            parts = []
            if document.strip():
                yield document
        parts.append(rest)
    document = "".join(parts)
    if document.strip():
        yield document.strip("\n") if separated else document


def lines(path: Path) -> Iterator[str]:
    """Lines of UTF-8, unpacked, as they end. Raises ValueError for what is not text."""
    before = 0
    with _opened(path) as file:
        for line in file:
            try:
                text = line.decode("utf-8" if before else "utf-8-sig")
            except UnicodeDecodeError as error:
                place, byte = before + error.start, error.object[error.start]
                raise ValueError(f"{path} is not UTF-8 text: byte {place:,} is 0x{byte:02x}{_hint(path)}.") from None
            if "\0" in text:
                raise ValueError(f"{path} is not text: byte {before + line.index(0):,} is zero{_hint(path)}.")
            before += len(line)
            yield text


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.suffix.lower() not in COMPRESSED:
        with path.open("rb") as file:
            yield file
        return
    import pyarrow

    with pyarrow.input_stream(str(path), compression="detect") as packed:
        yield io.BufferedReader(packed)


def _hint(path: Path) -> str:
    """What to do with a file that is no text, where its ending says so."""
    hints = {
        (".npy", ".npz", ".pt", ".pth", ".safetensors"): "arrays are loaded first, and given as they are",
        (".bin",): "if it holds token ids, load them with np.fromfile and give them as a tensor",
        (".zip", ".tar", ".7z"): "unpack it and pass the folder",
        (".pdf", ".docx", ".xlsx", ".epub"): "save it as .txt or .csv",
        (".arrow", ".feather"): "pass a data set or frame that is read from it",
    }
    return next((f"; {hint}" for endings, hint in hints.items() if kind(path) in endings), "")


def _json_lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(lines(path), start=1):
        if not line.isspace():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number:,} of {path} is no JSON: {error}.") from error


def _json(path: Path) -> Iterator[Any]:
    whole = "".join(lines(path))
    try:
        found = json.loads(whole)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        yield from _json_lines(path)  # many a .json is of lines
    else:
        yield from found if isinstance(found, list) else [found]


def _csv(path: Path) -> Iterator[dict[str, str]]:
    """Rows by the names in the first line, which are apart by the most frequent of comma, semicolon and tab."""
    csv.field_size_limit(2**31 - 1)  # a cell may be a book
    text = lines(path)
    head = next(text, "")
    apart = max(",;\t", key=head.count)
    columns = next(csv.reader([head], delimiter=apart), [])
    for number, cells in enumerate(csv.reader(text, delimiter=apart, strict=True)):
        if len(cells) > len(columns):
            raise ValueError(
                f"row {number:,} of {path} has {len(cells)} cells, its first line names {len(columns)} columns: quote "
                "cells that hold a comma."
            )
        if cells:
            yield dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=True))


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet, types

    def is_read(kind: Any) -> bool:
        """Not what is no text by its type, above all vectors, which are many numbers."""
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            return not types.is_floating(kind.value_type)
        return types.is_nested(kind) or not (types.is_primitive(kind) or types.is_binary(kind))

    try:
        with parquet.ParquetFile(path) as file:
            columns = [column.name for column in file.schema_arrow if is_read(column.type)]
            if not columns:
                names = ", ".join(map(repr, file.schema_arrow.names))
                raise ValueError(f"{path} has no text: none of its columns, {names}, is of strings.")
            for batch in file.iter_batches(64, columns=columns):
                yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:  # damaged, or something else of that name
        raise ValueError(f"{path} is no Parquet file: {error}") from error


TEXT = (".txt", ".md")
TABLES = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _existing(source: str | PathLike[str], names: tuple[str, ...]) -> Path:
    """The path, where something is there. A text that is given in its place is told so."""
    try:
        path = Path(source).expanduser()
        if path.exists() and str(source):
            return path
        known = [*names, *sorted(file.name for file in path.parent.iterdir())] if path.parent.is_dir() else names
    except (OSError, ValueError, RuntimeError):  # too long for a name, a null byte, no such user
        path, known = Path(), names
    given = str(source) if len(str(source)) <= LONGEST else f"{str(source)[:LONGEST]}…"
    if isinstance(source, str) and (not path.name or (kind(path) not in (*TEXT, *TABLES) and _has_words(source))):
        raise ValueError(f"there is no corpus, file or folder {given!r}: a text goes in a list, [text].")
    what = "there is no corpus, file or folder"
    if isinstance(source, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not path.parent.is_dir():
        what = f"a data set of Hugging Face is passed as datasets.load_dataset({source!r}), and {what}"
    error = FileNotFoundError if len(path.parts) > 1 or path.suffix else ValueError
    raise error(unknown(what, given, known))


def _has_words(source: str) -> bool:
    return any(character.isspace() for character in source)
