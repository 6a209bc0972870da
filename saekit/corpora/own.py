"""Text of one's own as documents: files, folders, lists, and data sets of rows, chats among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from saekit.corpora.documents import Document, Span
from saekit.files.choices import unknown

CHAT_COLUMNS = ("messages", "conversations", "conversation", "chat")
# How a chat is written where no tokenizer says otherwise: the template of micro.
TEMPLATE = {"user": "<|user|>{}<|end|>", "assistant": "<|assistant|>{}<|end|>"}


def documents_of(
    source: Any, names: Sequence[str], tokenizer: Any = None
) -> tuple[str, list[Document] | Callable[[], Iterator[Document]]]:
    """The name of a source and its documents; of a streamed data set a function that reads it again and again.

    Raises ValueError for text that is not UTF-8, rows without text and unknown roles; FileNotFoundError; TypeError for
    what is no source of text."""
    if isinstance(source, str | PathLike):
        return _from_path(source, names)
    name = str(getattr(getattr(source, "info", None), "dataset_name", None) or "list")
    if hasattr(source, "__len__") and hasattr(source, "__getitem__") and not isinstance(source, Mapping):
        return name, [document_of(source[place], place, tokenizer) for place in range(len(source))]
    if not isinstance(source, Iterable) or isinstance(source, Mapping | bytes):
        raise TypeError(f"a corpus is a name, a path, a list of strings or rows, found {type(source).__name__}.")
    if isinstance(source, Iterator):
        raise TypeError("an iterator can be read once, a corpus is read again: pass a list, or a data set.")

    def stream() -> Iterator[Document]:
        while True:
            place = -1
            for place, row in enumerate(source):
                yield document_of(row, place, tokenizer)
            if place < 0:
                raise ValueError("the corpus is empty: the data set has no rows.")

    return ("stream" if name == "list" else name), stream


def document_of(row: Any, place: int, tokenizer: Any = None) -> Document:
    """A string, a Document, or a row: a mapping with a column `text`, or a chat (a list of role and content)."""
    if isinstance(row, Document):
        return row
    if isinstance(row, str):
        return Document(row, "text")
    if not isinstance(row, Mapping):
        raise TypeError(
            f"a corpus is a list of strings or of rows with a column 'text', found {type(row).__name__} at place "
            f"{place}."
        )
    for column in CHAT_COLUMNS:
        if column in row:
            return chat(row[column], place, tokenizer)
    if not isinstance(row.get("text"), str):
        raise ValueError(
            f"row {place} has no text: of the columns {', '.join(map(repr, row))} none is 'text' or a chat "
            f"({', '.join(map(repr, CHAT_COLUMNS))}); rename the one that is."
        )
    return Document(row["text"], "text")


def chat(messages: Sequence[Mapping[str, str]], place: int, tokenizer: Any = None) -> Document:
    """A chat as one document; what each role said is a span `chat.user`, `chat.assistant` …

    tokenizer: writes it by its own chat template; None: the template of micro."""
    said = [(str(m.get("role", m.get("from", "?"))), str(m.get("content", m.get("value", "")))) for m in messages]
    if tokenizer is not None:
        turns = [{"role": role, "content": content} for role, content in said]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    else:
        for role, _ in said:
            if role not in TEMPLATE:
                raise ValueError(
                    f"row {place} has the role {role!r}, micro's template knows 'user' and 'assistant': pass "
                    "tokenizer= for another template."
                )
        text = "".join(TEMPLATE[role].format(content) for role, content in said)
    spans, end = [], 0
    for role, content in said:
        start = text.find(content, end) if content else -1
        if start >= 0:
            end = start + len(content)
            spans.append(Span(start, end, f"chat.{role}"))
    return Document(text, "chat", tuple(spans))


def _from_path(source: str | PathLike[str], names: Sequence[str]) -> tuple[str, list[Document]]:
    path = Path(source).expanduser()
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*.txt")) if file.stat().st_size]
        return str(source), [Document(_read(file), "text") for file in files]
    if path.is_file():
        text = _read(path)
        return str(source), [Document(text, "text")] if text.strip() else []
    error = FileNotFoundError if len(path.parts) > 1 or path.suffix else ValueError
    raise error(unknown("there is no corpus, file or folder", str(source), names))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text: byte {error.start:,} is 0x{error.object[error.start]:02x}."
        ) from None
