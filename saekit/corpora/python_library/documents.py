"""Labelled documents of the Python library: finite splits and the endless training stream."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import count

from saekit.corpora.documents import Document, Span
from saekit.corpora.microworld.chance import Draw
from saekit.corpora.python_library.labels import label
from saekit.corpora.python_library.sources import cut, library, modules

KIND = "code"
OPEN_AT_ONCE = 12  # modules whose pieces the stream mixes


def labelled_pieces(source: str) -> list[Document]:
    """The documents of a module, in its order. A span that a cut goes through is in each piece with its part."""
    pieces = cut(source)
    starts = [start for start, _ in pieces]
    spans: list[list[Span]] = [[] for _ in pieces]
    for span in label(source):
        piece = max(0, bisect_left(starts, span.start + 1) - 1)
        while piece < len(pieces) and pieces[piece][0] < span.end:
            start, stop = pieces[piece]
            first, last = max(span.start, start), min(span.end, stop)
            if first < last:
                spans[piece].append(Span(first - start, last - start, span.concept))
            piece += 1
    return [Document(source[a:b], KIND, tuple(found)) for (a, b), found in zip(pieces, spans, strict=True)]


def stream(seed: int, installed: bool = False) -> Iterator[Document]:
    """The endless training stream: each pass takes the modules in a new order and mixes the pieces of twelve at a time.

    Order within a module is kept: what a later piece refers to has been seen. Labelling is done as modules are
    opened."""
    names, sources = modules("train", installed), library(installed)
    for turn in count():
        draw = Draw("python", seed, turn)
        waiting = iter(draw.shuffled(names))
        opened: list[Iterator[Document]] = []
        while True:
            while len(opened) < OPEN_AT_ONCE and (name := next(waiting, None)) is not None:
                opened.append(iter(labelled_pieces(sources[name])))
            if not opened:
                break
            which = int(draw.uniform() * len(opened))
            document = next(opened[which], None)
            if document is None:
                opened.pop(which)
            else:
                yield document


@lru_cache(maxsize=4)
def finite(split: str, seed: int, limit: int, installed: bool = False) -> tuple[Document, ...]:
    """At most `limit` documents of a split that is never trained, in a seeded order."""
    draw = Draw("python", split, seed)
    sources = library(installed)
    found = [document for name in modules(split, installed) for document in labelled_pieces(sources[name])]
    return tuple(draw.sample(found, min(limit, len(found))))
