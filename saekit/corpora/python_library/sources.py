"""The frozen Python 3.11 standard library, or that of the running interpreter: modules, their split, and how a module
is cut into documents."""

from __future__ import annotations

import ast
import json
import lzma
import sysconfig
import warnings
import zlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

LONGEST = 1_500  # characters of a document
SHORTEST = 20  # less is a lone bracket
JOINED = 800  # neighbours are joined while they stay below


SKIPPED_FOLDERS = {
    "test",
    "tests",
    "idle_test",
    "ensurepip",
    "site-packages",
    "dist-packages",
    "lib-dynload",
    "__pycache__",
}
SMALLEST = 500  # characters; what is shorter is mostly an import and a warning


@lru_cache(maxsize=2)
def library(installed: bool = False) -> dict[str, str]:
    """Source by dotted module name, in the order of the names. About 12 MB; read once. `installed`: that of the running
    interpreter, which differs from machine to machine."""
    if installed:
        return dict(collect(Path(sysconfig.get_path("stdlib"))))
    packed = (files("saekit.corpora.python_library") / "library.jsonl.xz").read_bytes()
    rows = (json.loads(line) for line in lzma.decompress(packed).splitlines())
    return {row["module"]: row["source"] for row in rows}


def split_of(module: str) -> str:
    """Four modules in five are trained; heldout, unseen_dev and unseen are disjoint sets of the others, by a stable
    hash (CRC-32).

    `encodings`: all trained, since its tables are near copies of one another."""
    if module.startswith("encodings."):
        return "train"
    return {0: "heldout", 1: "unseen_dev", 2: "unseen", 3: "heldout"}.get(zlib.crc32(module.encode()) % 20, "train")


def collect(library: Path) -> list[tuple[str, str]]:
    """(dotted module name, source) of every module of the library, sorted by name, without tests and generated
    files."""
    found = []
    for path in library.rglob("*.py"):
        parts = path.relative_to(library).parts
        generated = parts[0].startswith(("_sysconfigdata", "config-"))
        if generated or SKIPPED_FOLDERS & set(parts):
            continue
        source = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        if len(source) <= SMALLEST:
            continue
        parse(source)
        found.append((".".join(parts)[: -len(".py")].removesuffix(".__init__"), source))
    return sorted(found)


def modules(split: str, installed: bool = False) -> list[str]:
    """The dotted names of a split's modules, sorted."""
    return [module for module in library(installed) if split_of(module) == split]


def parse(source: str) -> ast.Module:
    """The syntax tree, without the warnings of newer Pythons."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of escapes that 3.11 let pass
        return ast.parse(source)


def line_starts(source: str) -> list[int]:
    """Offset of each line (from 0), and of the end. Only "\\n" ends a line: a form feed does not."""
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def first_line(statement: ast.stmt) -> int:
    """Number (from 0) of the line where a statement starts, decorators included."""
    decorators = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1


def statements(node: ast.AST) -> list[ast.stmt]:
    """The statements directly inside a node, those of its else, except and case branches included, in order."""
    found: list[ast.stmt] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            found.append(child)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            found += statements(child)
    return found


def cut(source: str) -> list[tuple[int, int]]:
    """Cut a module into pieces of whole lines: [start, end) in characters, at most 1,500 each (a longer single line
    stays whole).

    Cuts fall between the statements of the module; inside a class or function too long for one piece between its
    statements; inside a statement too long (a table, a long string) between lines. Short neighbours are joined up to
    800 characters."""
    starts = line_starts(source)
    joined: list[tuple[int, int]] = []
    for begin, end in _pieces(parse(source), 0, len(starts) - 1, starts):
        if joined and starts[end] - starts[joined[-1][0]] <= JOINED:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    documents = []
    for begin, end in joined:
        text = source[starts[begin] : starts[end]]
        start = starts[begin] + len(text) - len(text.lstrip("\n"))
        stop = starts[begin] + len(text.rstrip())
        if stop - start >= SHORTEST:
            documents.append((start, stop))
    return documents


def _pieces(node: ast.AST, first: int, last: int, starts: list[int]) -> Iterator[tuple[int, int]]:
    """Pieces of the lines [first, last), which `node` fills. Comments before a statement go with it."""
    inside = statements(node)
    if starts[last] - starts[first] <= LONGEST:
        yield first, last
    elif not inside:
        yield from _by_lines(first, last, starts)
    else:
        begin = first
        for child, after in zip(inside, [*inside[1:], None], strict=True):
            end = last if after is None else (child.end_lineno or child.lineno)
            if after is None or first_line(after) >= end:  # not two statements on one line
                yield from _pieces(child, begin, end, starts)
                begin = end


def _by_lines(first: int, last: int, starts: list[int]) -> Iterator[tuple[int, int]]:
    """Pieces of as many whole lines as fit."""
    begin = first
    for line in range(first + 1, last):
        if starts[line + 1] - starts[begin] > LONGEST:
            yield begin, line
            begin = line
    yield begin, last
