"""Exact labels for Python source, from `tokenize` and `ast`, the same on every Python from 3.11 on.

A span is what the parser says it is: nothing is guessed from names. f-strings changed in 3.12 (before, one token;
since, many):
here an f-string is always one string, and nothing inside it is labelled."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from saekit.corpora.documents import Span
from saekit.corpora.python_library.sources import line_starts, parse

# Frozen, since `dir(builtins)` grows from version to version.
BUILTINS = frozenset(
    [
        "abs",
        "all",
        "any",
        "ascii",
        "bin",
        "bool",
        "bytearray",
        "bytes",
        "callable",
        "chr",
        "classmethod",
        "compile",
        "complex",
        "delattr",
        "dict",
        "dir",
        "divmod",
        "enumerate",
        "eval",
        "exec",
        "filter",
        "float",
        "format",
        "frozenset",
        "getattr",
        "globals",
        "hasattr",
        "hash",
        "help",
        "hex",
        "id",
        "input",
        "int",
        "isinstance",
        "issubclass",
        "iter",
        "len",
        "list",
        "locals",
        "map",
        "max",
        "memoryview",
        "min",
        "next",
        "object",
        "oct",
        "open",
        "ord",
        "pow",
        "print",
        "property",
        "range",
        "repr",
        "reversed",
        "round",
        "set",
        "setattr",
        "slice",
        "sorted",
        "staticmethod",
        "str",
        "sum",
        "super",
        "tuple",
        "type",
        "vars",
        "zip",
        "__import__",
        "BaseException",
        "Exception",
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "EOFError",
        "FileExistsError",
        "FileNotFoundError",
        "ImportError",
        "IndexError",
        "IOError",
        "KeyError",
        "KeyboardInterrupt",
        "LookupError",
        "ModuleNotFoundError",
        "NameError",
        "NotImplementedError",
        "OSError",
        "OverflowError",
        "PermissionError",
        "RecursionError",
        "RuntimeError",
        "StopIteration",
        "SyntaxError",
        "SystemExit",
        "TimeoutError",
        "TypeError",
        "UnboundLocalError",
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "UnicodeError",
        "ValueError",
        "Warning",
        "DeprecationWarning",
        "RuntimeWarning",
        "UserWarning",
        "ZeroDivisionError",
    ]
)
CONSTANTS = frozenset({"True", "False", "None"})
KEYWORDS = frozenset(keyword.kwlist) - CONSTANTS  # the same 35 words from 3.7 to 3.14
CONCEPTS = (
    "python.argument_use",  # inside a function's body, a name that is one of its arguments
    "python.brackets.depth_1",  # from an opening bracket to its closing one
    "python.brackets.depth_2",
    "python.brackets.depth_3",  # three or deeper
    "python.builtin",  # a name of the built-in functions, types and exceptions, where it is read
    "python.comment",
    "python.condition",  # what stands after if, elif, while, or before if … else
    "python.constant",  # True, False, None
    "python.decorator",
    "python.default",  # an argument's default value
    "python.docstring",
    "python.import",  # an import statement
    "python.keyword",
    "python.name.argument",  # in a def's or lambda's arguments
    "python.name.attribute",  # after a dot
    "python.name.called",  # the name (or attribute) that a call calls
    "python.name.class",  # in its definition
    "python.name.function",  # in its definition
    "python.name.keyword_argument",  # in a call
    "python.name.module",  # in an import statement
    "python.number",
    "python.operator",  # not brackets, commas, colons, dots
    "python.return_value",
    "python.string",
)
OPEN, CLOSE, PUNCTUATION = frozenset("([{"), frozenset(")]}"), frozenset((",", ":", ".", ";", "...", "->"))
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def label(source: str) -> list[Span]:
    """Every span of a module's source, in reading order."""
    starts = line_starts(source)
    spans = {*_token_spans(source, starts), *_tree_spans(source, starts)}
    return sorted(spans, key=lambda span: (span.start, -span.end, span.concept))


def _token_spans(source: str, starts: list[int]) -> Iterator[Span]:
    """From `tokenize`: keywords, names in definitions, strings, comments, numbers, operators, brackets."""
    brackets: list[int] = []  # where the open ones began
    formatted: list[int] = []  # where the open f-strings began (they nest since 3.12)
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        start, end = starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1]
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            formatted.append(start)
        elif kind.endswith("STRING_END"):
            first = formatted.pop()
            if not formatted:
                yield Span(first, end, "python.string")
        elif formatted:
            continue
        elif kind == "OP" and token.string in OPEN:
            brackets.append(start)
        elif kind == "OP" and token.string in CLOSE:
            yield Span(brackets.pop(), end, f"python.brackets.depth_{min(3, len(brackets) + 1)}")
        elif concept := _token_concept(kind, token.string, before):
            yield Span(start, end, concept)
        if kind in ("NAME", "OP", "STRING", "NUMBER"):
            before = token.string


def _token_concept(kind: str, text: str, before: str) -> str | None:
    """What a token says by itself and by the one before it; None for names in their use and for punctuation."""
    if kind == "NAME":
        if text in KEYWORDS:
            return "python.keyword"
        if text in CONSTANTS:
            return "python.constant"
        return {"def": "python.name.function", "class": "python.name.class"}.get(before)
    if kind == "OP":
        return None if text in PUNCTUATION else "python.operator"
    return {"STRING": "python.string", "COMMENT": "python.comment", "NUMBER": "python.number"}.get(kind)


def _tree_spans(source: str, starts: list[int]) -> Iterator[Span]:
    """From `ast`: what needs the parse tree."""
    places = _Places(source.split("\n"), starts)
    waiting: list[tuple[ast.AST, frozenset[str]]] = [(parse(source), frozenset())]
    while waiting:
        node, arguments = waiting.pop()  # with the names of the arguments of the functions around
        if isinstance(node, ast.JoinedStr) or type(node).__name__ == "TemplateStr":
            continue
        yield from _spans_of(node, arguments, places)
        inner = arguments
        body: Sequence[ast.AST] = ()
        if isinstance(node, FunctionNode):
            inner = arguments | {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
            body = node.body if isinstance(node.body, list) else [node.body]
        for child in ast.iter_child_nodes(node):
            waiting.append((child, inner if any(child is one for one in body) else arguments))


@dataclass(frozen=True)
class _Places:
    """Spans of nodes: their places in lines and columns as characters from the source's start."""

    lines: list[str]
    starts: list[int]

    def offset(self, line: int, column: int) -> int:
        """`ast` counts columns in bytes of UTF-8."""
        text = self.lines[line - 1]
        return self.starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))

    def whole(self, node: Any, concept: str) -> Span:
        """All of a node."""
        return Span(
            self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset), concept
        )

    def at_start(self, node: Any, name: str, concept: str) -> Span:
        """The name that a node begins with."""
        start = self.offset(node.lineno, node.col_offset)
        return Span(start, start + len(name), concept)

    def at_end(self, node: Any, name: str, concept: str) -> Span:
        """The name that a node ends with."""
        end = self.offset(node.end_lineno, node.end_col_offset)
        return Span(end - len(name), end, concept)


def _spans_of(node: ast.AST, arguments: frozenset[str], places: _Places) -> Iterator[Span]:
    """What one node says, without its children; `arguments`: the names of the arguments of the functions around."""
    yield from _definition_spans(node, places)
    match node:
        case ast.Name(id=name) if name in arguments:
            yield places.whole(node, "python.argument_use")
        case ast.Name(id=name, ctx=ast.Load()) if name in BUILTINS:
            yield places.whole(node, "python.builtin")
        case ast.Attribute(attr=name):
            yield places.at_end(node, name, "python.name.attribute")
        case ast.Call():
            yield from _call_spans(node, places)
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield places.whole(node, "python.import")
            named = [alias for alias in names if alias.name != "*"]
            yield from (places.at_start(alias, alias.name, "python.name.module") for alias in named)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.JoinedStr):
            yield places.whole(test, "python.condition")
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.JoinedStr):
            yield places.whole(value, "python.return_value")


def _definition_spans(node: ast.AST, places: _Places) -> Iterator[Span]:
    """Docstring and decorators of a module, class or function; of a function or lambda also its arguments."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Module():
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str()) as docstring), *_]:
                    yield places.whole(docstring, "python.docstring")
    yield from (places.whole(each, "python.decorator") for each in getattr(node, "decorator_list", []))
    if isinstance(node, FunctionNode):
        given = node.args
        for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
            if argument is not None:
                yield places.at_start(argument, argument.arg, "python.name.argument")
        for default in (*given.defaults, *given.kw_defaults):
            if default is not None and not isinstance(default, ast.JoinedStr):
                yield places.whole(default, "python.default")


def _call_spans(call: ast.Call, places: _Places) -> Iterator[Span]:
    """The name that is called, and the names of arguments given by name."""
    if isinstance(call.func, ast.Name):
        yield places.whole(call.func, "python.name.called")
    elif isinstance(call.func, ast.Attribute):
        yield places.at_end(call.func, call.func.attr, "python.name.called")
    for given in call.keywords:
        if given.arg is not None:
            yield places.at_start(given, given.arg, "python.name.keyword_argument")
