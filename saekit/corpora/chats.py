"""Chats as documents: written by a template, what each role said a span of the text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from saekit.corpora.documents import Document, Span

# How a chat is written where no tokenizer says otherwise: the template of micro.
TEMPLATE = {"user": "<|user|>{}<|end|>", "assistant": "<|assistant|>{}<|end|>"}
ROLE, CONTENT = ("role", "from"), ("content", "value")  # as most name them, and as ShareGPT does
CALLS = ("tool_calls", "function_call")


def is_chat(value: Any) -> bool:
    """Whether this is a list of turns, each with who speaks."""
    turns = value.tolist() if hasattr(value, "tolist") else value  # a cell of a frame read from Parquet is an array
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        return False
    return all(isinstance(turn, Mapping) and any(name in turn for name in ROLE) for turn in turns)


def chat(value: Any, row: str, tokenizer: Any = None) -> Document | None:
    """A chat as one document; what each role said is a span `chat.user`, `chat.assistant` … None where nobody says
    anything.

    value: turns for which ``is_chat`` holds. Content is a string, a list of parts that are text, or None: nothing said.
    row: where it comes from, for errors.
    tokenizer: writes it by its own chat template, with everything else that a turn has (tool calls, a name); None: the
        template of micro.

    Raises ValueError for content that is no text, for a role that micro's template has not, and where the tokenizer's
    refuses."""
    turns = [_turn(turn, f"turn {number} of {row}") for number, turn in enumerate(value)]
    if not any(turn["content"].strip() or any(turn.get(name) for name in CALLS) for turn in turns):
        return None
    if tokenizer is None:
        return _in_micros_template(turns, row)
    text = _written(turns, row, tokenizer)
    return Document(text, "chat", tuple(_spans(turns, text, row, tokenizer)))


def _turn(turn: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A turn with role and content, a string; of the rest what is not None, since a table gives each turn every key."""
    role = next(turn[name] for name in ROLE if name in turn)
    if not isinstance(role, str):
        raise ValueError(f"{where} has the role {role!r}: a role is a string, such as 'user'.")
    if not any(name in turn for name in (*CONTENT, *CALLS)):
        raise ValueError(f"{where} has no 'content', found {', '.join(map(repr, turn))}.")
    content = next((turn[name] for name in CONTENT if name in turn), None)
    rest = {key: value for key, value in turn.items() if key not in (*ROLE, *CONTENT) and value is not None}
    return {"role": role, "content": _content(content, where)} | rest


def _content(content: Any, where: str) -> str:
    """What is said. A template would write None as the word, so what is missing is the empty string."""
    if content is None or isinstance(content, str):
        return content or ""
    if hasattr(content, "tolist"):
        content = content.tolist()
    if not isinstance(content, Sequence):
        raise ValueError(f"{where}: content is a string, a list of parts or None, found {type(content).__name__}.")
    return "".join(_part(part, where) for part in content)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return part["text"]
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise ValueError(f"{where} has a part of type {kind!r}: a corpus is of text, so parts are of type 'text'.")


def _in_micros_template(turns: list[dict[str, Any]], row: str) -> Document:
    text, spans = "", []
    for turn in turns:
        role, content = turn["role"], turn["content"]
        if role not in TEMPLATE:
            raise ValueError(
                f"{row} has the role {role!r}, micro's template knows 'user' and 'assistant': pass tokenizer= for "
                "another template."
            )
        calls = next((name for name in CALLS if turn.get(name)), None)
        if calls is not None:
            raise ValueError(f"{row} has {calls!r}, which micro's template cannot write: pass tokenizer= for another.")
        before, after = TEMPLATE[role].split("{}")
        start = len(text) + len(before)
        if content:
            spans.append(Span(start, start + len(content), f"chat.{role}"))
        text += before + content + after
    return Document(text, "chat", tuple(spans))


def _written(turns: list[dict[str, Any]], row: str, tokenizer: Any) -> str:
    if not hasattr(tokenizer, "apply_chat_template"):
        raise TypeError(f"tokenizer= is one with a chat template, such as model.tokenizer, found {tokenizer!r:.60}.")
    if not getattr(tokenizer, "chat_template", True):
        raise ValueError(
            f"{row} is a chat, and the tokenizer has no chat template: set tokenizer.chat_template, or leave out "
            "tokenizer= for the template of micro."
        )
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception as error:  # a template is a program of its own, which fails as it likes
        raise ValueError(f"the tokenizer's chat template refuses {row}: {error}") from error


def _spans(turns: list[dict[str, Any]], text: str, row: str, tokenizer: Any) -> list[Span]:
    """Where the template wrote what was said; none where that cannot be told.

    The chat is written once more with a mark in place of each content. What stands between the marks is the template's
    own, so that a word of it is never taken for a content of the same letters."""
    marks = {f"\ue000{number}\ue001": turn for number, turn in enumerate(turns) if turn["content"]}
    waiting = iter(marks)
    marked = [turn | {"content": next(waiting)} if turn["content"] else turn for turn in turns]
    try:
        head, *rest = re.split(f"({'|'.join(marks)})", _written(marked, row, tokenizer)) if marks else [text]
    except ValueError:
        return []  # a template that looks into the content
    spans, end = [], len(head)
    for mark, after in zip(rest[::2], rest[1::2], strict=True):
        said = _as_written(marks[mark]["content"], text, end, after)
        if said is None:
            return []
        if said:
            spans.append(Span(end, end + len(said), f"chat.{marks[mark]['role']}"))
        end += len(said) + len(after)
    return spans if text.startswith(head) and end == len(text) else []


def _as_written(content: str, text: str, start: int, after: str) -> str | None:
    """The content as it stands in the text, whole or without the white space around it, as many templates write it."""
    for written in (content, content.strip(), content.rstrip(), content.lstrip()):
        if text.startswith(written + after, start):
            return written
    return None
