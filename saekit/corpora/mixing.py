"""mixed: documents of several corpora in turn, each corpus with its share of the characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from saekit.corpora.corpus import Corpus
from saekit.corpora.documents import Document
from saekit.files.arguments import number
from saekit.files.roles import CORPUS, check_roles


def mixed(corpora: Sequence[Corpus], shares: Sequence[float] | None = None) -> Corpus:
    """One corpus of several: the next document is always of the corpus that is furthest behind its share.

    corpora: what ``load_corpus`` gives, two or more, of one split.
    shares:  of the characters, one a corpus, above 0; only how they compare matters. Default: as much of each.
    Returns a Corpus, the same documents each time; it ends where a finite one of them does, so that the shares hold to
    its end. For example
    ``sk.corpora.mixed([sk.load_corpus("microworld"), sk.load_corpus("pipelines")], shares=[3, 1])``.
    Raises ValueError for fewer than two corpora, corpora of different splits, and shares that do not fit them.
    """
    corpora = list(corpora)
    for corpus in corpora:
        check_roles("sk.corpora.mixed([corpus, corpus], shares)", corpora=(corpus, CORPUS))
    if len(corpora) < 2:
        raise ValueError(f"a mixture is of two corpora or more, found {len(corpora)}.")
    splits = list(dict.fromkeys(corpus.split for corpus in corpora))
    if len(splits) > 1:
        raise ValueError(f"corpora of one split are mixed, found {', '.join(splits)}: load them with the same split=.")
    given = [1.0] * len(corpora) if shares is None else [number("a share", share, above=0) for share in shares]
    if len(given) != len(corpora):
        raise ValueError(f"there is a share for each corpus, found {len(given)} for {len(corpora)}.")

    def stream() -> Iterator[Document]:
        parts, written = [iter(corpus) for corpus in corpora], [0.0] * len(corpora)
        while True:
            at = min(range(len(parts)), key=lambda place: written[place] / given[place])
            document = next(parts[at], None)
            if document is None:
                return
            written[at] += max(1, len(document.text))
            yield document

    return Corpus(
        stream if all(corpus.endless for corpus in corpora) else tuple(stream()),
        name="+".join(corpus.name for corpus in corpora),
        split=splits[0],
        seed=corpora[0].seed,
        kinds=list(dict.fromkeys(kind for corpus in corpora for kind in corpus.kinds)),
    )
