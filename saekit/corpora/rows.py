"""Rows to documents: which column is the text, and what has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from saekit.corpora.chats import CONTENT, ROLE, chat, is_chat
from saekit.corpora.documents import Document
from saekit.files.choices import unknown

CHAT_COLUMNS = ("messages", "conversations", "conversation", "chat")
TOKENS = "input_ids"
NOT_TEXT = "a corpus is of text, so tokens are passed in its place to what would read it"


@dataclass
class Reading:
    """How text of one's own is read, and what was found.

    column:    the one that is the text, as the caller says; None: it is found.
    tokenizer: writes chats; None: in the template of micro.
    columns:   those that were read.
    skipped:   rows without text.
    first:     the first of them.
    left_out:  files of a folder that are no text.
    """

    column: Any = None
    tokenizer: Any = None
    columns: list[str] = field(default_factory=list)
    skipped: int = 0
    first: str = ""
    left_out: list[str] = field(default_factory=list)

    @property
    def provenance(self) -> dict[str, Any]:
        """What of it is worth a record: columns that one would not expect, and how many rows were skipped."""
        columns = sorted({*self.columns} - {"text", *CHAT_COLUMNS})
        return ({"columns": columns} if columns else {}) | ({"skipped": self.skipped} if self.skipped else {})

    def skip(self, row: str) -> None:
        """Count a row without text."""
        self.skipped += 1
        self.first = self.first or row


def documents_of(rows: Iterable[Any], reading: Reading, of: str = "") -> Iterator[Document]:
    """A document of each row that has text: a Document, a string (as it is, so that an empty one keeps its place), a
    chat, or a mapping whose text or chat is in one column. Other rows without text are counted in ``reading``.

    of: the file that the rows come from, such as " of a.csv", for errors. Raises ValueError and TypeError naming the
    row."""
    found = None
    for place, row in enumerate(rows):
        where = f"row {place}{of}"
        value = row
        if isinstance(row, Mapping):
            column = _column(row, where, reading, found)
            found = column if found is None else found
            if str(column) not in reading.columns:
                reading.columns.append(str(column))
            value = row.get(column)
            value = None if isinstance(value, str) and not value.strip() else value
        document = None if is_missing(value) else _document(value, row, place, where, reading.tokenizer)
        if document is None:
            reading.skip(where)
        else:
            yield _checked(document, where)


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, nan, pandas' NA and NaT, a list of nothing."""
    if value is None or (isinstance(value, Real) and value != value):
        return True
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return not value
    return type(value).__name__ in ("NAType", "NaTType")


def _document(value: Any, row: Any, place: int, where: str, tokenizer: Any) -> Document | None:
    if isinstance(value, Document):
        return value
    if isinstance(value, str):
        return Document(str(value), "text")
    if is_chat(value):
        return chat(value, where, tokenizer)
    if _is_tokens(value):
        raise TypeError(f"{where} is of token ids: {NOT_TEXT}.")
    if isinstance(row, Mapping):
        raise ValueError(
            f"{where} has no text: of the columns {', '.join(map(repr, row))} the one that is read holds "
            f"{type(value).__name__}, {value!r:.40}."
        )
    raise TypeError(
        f"a corpus is a list of strings, of chats or of rows with a column 'text', found {type(row).__name__} at place "
        f"{place}{where.removeprefix(f'row {place}')}."
    )


def _checked(document: Document, where: str) -> Document:
    """Raises ValueError for a text that no tokenizer takes."""
    try:
        document.text.encode()
    except UnicodeEncodeError as error:
        half = ord(document.text[error.start])
        raise ValueError(
            f"{where} is no text: its character {error.start:,} is U+{half:04X}, half of a surrogate pair."
        ) from None
    return document


def _is_tokens(value: Any) -> bool:
    values = value.tolist() if hasattr(value, "tolist") else value
    return isinstance(values, list | tuple) and bool(values) and all(isinstance(token, Integral) for token in values)


def _column(row: Mapping[Any, Any], where: str, reading: Reading, found: Any) -> Any:
    """The column of this row that is its text."""
    if reading.column is not None:
        if reading.column not in row and str(reading.column) not in reading.columns:
            raise ValueError(unknown(f"{where} has no column", reading.column, list(row)))
        return reading.column
    if named := next((column for column in CHAT_COLUMNS if is_chat(row.get(column))), None):
        return named
    if "text" in row:
        return "text"
    if named := next((column for column in CHAT_COLUMNS if column in row and is_missing(row[column])), None):
        return named
    return _only_column(row, where) if found is None else found


def _only_column(row: Mapping[Any, Any], where: str) -> Any:
    """The only column that may be text, by a row: a string that is no number, a chat, or a cell that is empty."""
    if any(name in row for name in ROLE) and any(name in row for name in CONTENT):
        raise ValueError(f"{where} is one turn of a chat: a chat goes in a list, [chat].")
    if TOKENS in row:
        raise ValueError(
            f"{where} has no text, but token ids in the column {TOKENS!r}: {NOT_TEXT}; or say column=, of "
            f"{', '.join(map(repr, row))}."
        )
    strings = [column for column, value in row.items() if isinstance(value, str) or is_chat(value) or is_missing(value)]
    words = [column for column in strings if not _is_number(row[column])]
    likely = words or strings
    if len(likely) == 1:
        return likely[0]
    columns = ", ".join(map(repr, row))
    if not likely:
        raise ValueError(
            f"{where} has no text: of the columns {columns} none is 'text', a chat "
            f"({', '.join(map(repr, CHAT_COLUMNS))}) or of strings."
        )
    several = ", ".join(map(repr, likely))
    raise ValueError(
        f"{where} has no text: of the columns {columns} none is 'text' or a chat, and {several} may be: say which, for "
        f"example column={likely[0]!r}."
    )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
