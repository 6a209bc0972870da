"""Exact labels for Python source, from `tokenize` and `ast`, the same on every Python from 3.11 on.

A span is what the parser says it is: nothing is guessed from names. f-strings changed in 3.12 (before, one token;
since, many):
here an f-string is always one string, and nothing inside it is labelled."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from collections.abc import Iterator

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
    brackets: list[int] = []
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
        elif kind == "STRING":
            yield Span(start, end, "python.string")
        elif kind == "COMMENT":
            yield Span(start, end, "python.comment")
        elif kind == "NUMBER":
            yield Span(start, end, "python.number")
        elif kind == "NAME":
            if token.string in KEYWORDS:
                yield Span(start, end, "python.keyword")
            elif token.string in CONSTANTS:
                yield Span(start, end, "python.constant")
            elif before in ("def", "class"):
                yield Span(start, end, "python.name.function" if before == "def" else "python.name.class")
        elif kind == "OP":
            if token.string in OPEN:
                brackets.append(start)
            elif token.string in CLOSE:
                yield Span(brackets.pop(), end, f"python.brackets.depth_{min(3, len(brackets) + 1)}")
            elif token.string not in PUNCTUATION:
                yield Span(start, end, "python.operator")
        if kind in ("NAME", "OP", "STRING", "NUMBER"):
            before = token.string


def _tree_spans(source: str, starts: list[int]) -> Iterator[Span]:
    """From `ast`: what needs the parse tree."""
    lines = source.split("\n")

    def offset(line: int, column: int) -> int:
        """Characters from the source's start; `ast` counts columns in bytes of UTF-8."""
        text = lines[line - 1]
        return starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))

    def whole(node: ast.AST, concept: str) -> Span:
        end = offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
        return Span(offset(node.lineno, node.col_offset), end, concept)  # type: ignore[attr-defined]

    def name_at_start(node: ast.AST, name: str, concept: str) -> Span:
        start = offset(node.lineno, node.col_offset)  # type: ignore[attr-defined]
        return Span(start, start + len(name), concept)

    def name_at_end(node: ast.AST, name: str, concept: str) -> Span:
        end = offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
        return Span(end - len(name), end, concept)

    def visit(node: ast.AST, arguments: frozenset[str]) -> Iterator[Span]:
        """`arguments`: the names of the arguments of the functions around."""
        if isinstance(node, ast.JoinedStr) or type(node).__name__ == "TemplateStr":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            docstring = node.body[0] if node.body else None
            if (
                isinstance(docstring, ast.Expr)
                and isinstance(docstring.value, ast.Constant)
                and isinstance(docstring.value.value, str)
            ):
                yield whole(docstring.value, "python.docstring")
        for decorator in getattr(node, "decorator_list", []):
            yield whole(decorator, "python.decorator")
        if isinstance(node, FunctionNode):
            given = node.args
            for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
                if argument is not None:
                    yield name_at_start(argument, argument.arg, "python.name.argument")
            for default in (*given.defaults, *given.kw_defaults):
                if default is not None and not isinstance(default, ast.JoinedStr):
                    yield whole(default, "python.default")
            inner = arguments | {argument.arg for argument in ast.walk(given) if isinstance(argument, ast.arg)}
            body = node.body if isinstance(node.body, list) else [node.body]
            for child in ast.iter_child_nodes(node):
                yield from visit(child, inner if any(child is one for one in body) else arguments)
            return
        if isinstance(node, ast.Name):
            if node.id in arguments:
                yield whole(node, "python.argument_use")
            elif node.id in BUILTINS and isinstance(node.ctx, ast.Load):
                yield whole(node, "python.builtin")
        elif isinstance(node, ast.Attribute):
            yield name_at_end(node, node.attr, "python.name.attribute")
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield whole(node.func, "python.name.called")
            elif isinstance(node.func, ast.Attribute):
                yield name_at_end(node.func, node.func.attr, "python.name.called")
            for given_by_name in node.keywords:
                if given_by_name.arg is not None:
                    yield name_at_start(given_by_name, given_by_name.arg, "python.name.keyword_argument")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield whole(node, "python.import")
            for alias in node.names:
                if alias.name != "*":
                    yield name_at_start(alias, alias.name, "python.name.module")
        elif isinstance(node, ast.If | ast.While | ast.IfExp):
            if not isinstance(node.test, ast.JoinedStr):
                yield whole(node.test, "python.condition")
        elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.JoinedStr):
            yield whole(node.value, "python.return_value")
        for child in ast.iter_child_nodes(node):
            yield from visit(child, arguments)

    yield from visit(parse(source), frozenset())
