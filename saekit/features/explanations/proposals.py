"""propose: predicates that fit what a latent does in the windows given, the best first.

Candidates: each labelled concept (and what comes after or before it); sets of token texts, exact or folded, of the
token itself, the one before and the one after, chosen greedily by gain of F1; and pairs of the best of these: a & b,
a & ~b, and "a or one of these tokens, which a misses". A pair has to be better than each of its parts.

F1 counts tokens: 2 · hits / (firings + tokens where the predicate holds), over the counted tokens of the windows, a
place that lies in several of them once. Windows that were chosen because the latent fires flatter every predicate:
the numbers rank proposals, and `score` on other windows says how good one is.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from saekit.corpora.predicates.predicate import After, And, Before, Concept, Not, Or, Predicate, Tokens, folded, within
from saekit.features.asking.windows import Window
from saekit.plots import html_table
from saekit.plots.plain import WIDTH

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
DEFINITION = "Predicates that fit its examples, the best first; F1 is of the windows they were written from."
MINIMUM_GAIN = 0.01  # of F1 that a further token or part must bring: below, a longer text says no more
MINIMUM_HITS = 2  # firings on a token text: a text seen once is remembered, not explained
MOST_TEXTS = 12  # in a set: more is a list, not an explanation
PAIRED = 10  # the best candidates that are tried in pairs
Mask = np.ndarray  # bool, an entry a token


@dataclass(frozen=True, repr=False)
class Proposal:
    """A predicate and how well it fits the windows that it was written from."""

    predicate: Predicate
    f1: float
    precision: float
    recall: float

    def __str__(self) -> str:
        return f"{self.predicate}  (F1 {self.f1:.2f} where it was written)"

    __repr__ = __str__


class Proposals(list[Proposal]):
    """Proposals, the best first: a list that draws itself as a table."""

    def rows(self) -> list[dict[str, object]]:
        """f1, precision, recall and predicate (as text) of each."""
        return [
            {
                "f1": round(proposal.f1, 3),
                "precision": round(proposal.precision, 3),
                "recall": round(proposal.recall, 3),
                "predicate": str(proposal.predicate),
            }
            for proposal in self
        ]

    def __repr__(self) -> str:
        """Each with its predicate on at most three lines."""
        lines = ["   f1  precision  recall  predicate; [0].predicate is the first"]
        for one in self:
            whole = _QUOTED.sub(lambda text: text[0].replace(" ", "\0"), str(one.predicate))  # no line ends in a text
            shown = textwrap.wrap(whole, WIDTH - 26, max_lines=3, placeholder=" …")
            numbers = f"{one.f1:5.2f}  {one.precision:9.2f}  {one.recall:6.2f}"
            lines += [f"{numbers:<26}{shown[0]}", *(" " * 26 + line for line in shown[1:])]
        return "\n".join(lines).replace("\0", " ") if self else "no proposals: it fires in no window"

    def _repr_html_(self) -> str:
        return html_table(self.rows(), header=DEFINITION)


def propose(windows: Sequence[Window], background: Sequence[Window] = (), most: int = 8) -> Proposals:
    """Predicates for a latent from windows in which it fires and others in which it does not.

    Nothing is drawn at random: the same windows give the same proposals. At most `most`; none where the latent fires
    in no window. Raises ValueError where most is below 1.
    """
    if most < 1:
        raise ValueError(f"most is the number of proposals, at least 1, found {most}.")
    sample = _Sample([*windows, *background])
    if not sample.fires.any():
        return Proposals()
    singles = [*_concepts(sample), *_token_sets(sample)]
    best = _ranked(sample, singles)[:PAIRED]
    ranked = _ranked(sample, [*singles, *_pairs(sample, best)])[:most]
    return Proposals(Proposal(predicate, *sample.scores(sample.mask(predicate))) for predicate in ranked)


class _Sample:
    """The tokens of all windows side by side, with masks over them that are worked out once."""

    def __init__(self, windows: Sequence[Window]):
        self.windows = windows
        self.counted = np.array([counted for window in windows for counted in window.counted], dtype=bool)
        values = np.array([value for window in windows for value in window.values], dtype=float)
        _, first = np.unique([place for window in windows for place in window.places], return_index=True)
        self.keep = np.zeros(len(values), dtype=bool)  # counted tokens, each place once
        self.keep[first] = True
        self.keep &= self.counted
        self.fires = (values != 0) & self.keep
        self.neighbour = {After: _neighbours(windows, 1), Before: _neighbours(windows, -1)}
        texts = [text for window in windows for text in window.texts]
        self._texts = {False: texts, True: [folded(text) for text in texts]}
        self._at_texts = {fold: _places(own) for fold, own in self._texts.items()}
        labels = [labels for window in windows for labels in window.concepts]
        self._at_labels = _places((label for own in labels for label in own), [len(own) for own in labels])
        self._masks: dict[Predicate, Mask] = {}

    def mask(self, predicate: Predicate) -> Mask:
        """Where it holds: put together from where each text and label is and from its parts' masks, which is much
        faster than `holds`."""
        if predicate not in self._masks:
            if isinstance(predicate, And):
                found = np.logical_and.reduce([self.mask(part) for part in predicate.parts])
            elif isinstance(predicate, Or):
                found = np.logical_or.reduce([self.mask(part) for part in predicate.parts])
            elif isinstance(predicate, Not):
                found = ~self.mask(predicate.part) & self.counted
            elif isinstance(predicate, (After, Before)):
                neighbour = self.neighbour[type(predicate)]
                found = self.mask(predicate.part)[neighbour] & (neighbour >= 0) & self.counted
            elif isinstance(predicate, Concept):
                found = self._at(at for label, at in self._at_labels.items() if within(label, predicate.name))
            elif isinstance(predicate, Tokens):
                at_texts = self._at_texts[predicate.fold]
                found = self._at(at_texts[text] for text in predicate.texts if text in at_texts)
            else:
                found = np.array([holds for window in self.windows for holds in predicate.holds(window)], dtype=bool)
            self._masks[predicate] = found
        return self._masks[predicate]

    def _at(self, places: Iterable[np.ndarray]) -> Mask:
        """The counted tokens among those at some places."""
        found = np.zeros(len(self.counted), dtype=bool)
        for at in places:
            found[at] = True
        return found & self.counted

    def texts(self, fold: bool, around: type[After | Before] | None) -> list[str | None]:
        """The text of each token, or of the counted token before (After) or after (Before) it; None where none is."""
        texts = self._texts[fold]
        return [*texts] if around is None else [texts[i] if i >= 0 else None for i in self.neighbour[around].tolist()]

    def scores(self, mask: Mask) -> tuple[float, float, float]:
        """F1, precision, recall."""
        hits, held, fired = int((mask & self.fires).sum()), int((mask & self.keep).sum()), int(self.fires.sum())
        return 2 * hits / (held + fired), hits / max(1, held), hits / fired


def _places(texts: Iterable[str], each: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """Where each text is: the indices of its tokens. each: how many texts a token has, one where it is not given."""
    found: dict[str, list[int]] = defaultdict(list)
    tokens = itertools.count() if each is None else np.repeat(np.arange(len(each)), each).tolist()
    for token, text in zip(tokens, texts, strict=False):
        found[text].append(token)
    return {text: np.array(at) for text, at in found.items()}


def _neighbours(windows: Sequence[Window], step: int) -> np.ndarray:
    """Index of the counted token before (step 1) or after (−1) each token in its window, −1 where there is none."""
    start, found = 0, []
    for window in windows:
        last, moved = -1, []
        for i in range(len(window.counted))[::step]:
            moved.append(last)
            if window.counted[i]:
                last = start + i
        found += moved[::step]
        start += len(window.counted)
    return np.array(found, dtype=int)


def _concepts(sample: _Sample) -> Iterator[Predicate]:
    """Every label that a token has and every name above it; then what comes after or before each."""
    labels = {label for window in sample.windows for labels in window.concepts for label in labels}
    names: set[str] = set()
    for parts in (label.split(".") for label in labels):
        names.update(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    for name in sorted(names):
        yield from (Concept(name), After(Concept(name)), Before(Concept(name)))


def _token_sets(sample: _Sample) -> Iterator[Predicate]:
    """The greedy set of the token's own text, of the text before, of the text after; exact and folded."""
    nothing = np.zeros_like(sample.keep)
    for fold in (False, True):
        for around in (None, After, Before):
            found = _greedy(sample, nothing, fold, around)
            if found is not None:
                yield found if around is None else around(found)


def _greedy(sample: _Sample, base: Mask, fold: bool, around: type[After | Before] | None) -> Tokens | None:
    """The texts to add to what `base` holds, each the one that raises F1 most; ties go to the first by alphabet."""
    hits: dict[str, int] = defaultdict(int)
    held: dict[str, int] = defaultdict(int)
    rest = (sample.keep & ~base).tolist()
    for text, counts, fired in zip(sample.texts(fold, around), rest, sample.fires.tolist(), strict=True):
        if counts and text is not None:
            held[text] += 1
            hits[text] += fired
    left = sorted(text for text in held if hits[text] >= MINIMUM_HITS)
    chosen: list[str] = []
    all_hits, all_held = int((base & sample.fires).sum()), int((base & sample.keep).sum())
    firings = int(sample.fires.sum())
    f1 = 2 * all_hits / (all_held + firings)
    while left and len(chosen) < MOST_TEXTS:
        gains = [2 * (all_hits + hits[text]) / (all_held + held[text] + firings) for text in left]
        best = int(np.argmax(gains))
        if gains[best] < f1 + MINIMUM_GAIN:
            break
        text = left.pop(best)
        chosen.append(text)
        f1, all_hits, all_held = gains[best], all_hits + hits[text], all_held + held[text]
    return Tokens(frozenset(chosen), fold=fold) if chosen else None


def _pairs(sample: _Sample, best: Sequence[Predicate]) -> Iterator[Predicate]:
    for one in best:
        missed = None if isinstance(one, Tokens) else _greedy(sample, sample.mask(one), False, None)
        if missed is not None:  # a set of tokens is as long as it should be already
            yield from _better(sample, one | missed, one, missed)
    for one, other in permutations(best, 2):
        yield from _better(sample, one & ~other, one)
        if best.index(one) < best.index(other):
            yield from _better(sample, one & other, one, other)


def _better(sample: _Sample, pair: Predicate, *parts: Predicate) -> Iterator[Predicate]:
    """The pair, if it is better than each of the parts alone."""
    f1 = sample.scores(sample.mask(pair))[0]
    if all(f1 >= sample.scores(sample.mask(part))[0] + MINIMUM_GAIN for part in parts):
        yield pair


def _ranked(sample: _Sample, candidates: Sequence[Predicate]) -> list[Predicate]:
    """Best F1 first, then the shorter text; of those that hold at the same tokens the shortest alone."""
    order = sorted(candidates, key=lambda c: (-sample.scores(sample.mask(c))[0], len(str(c)), str(c)))
    found: dict[bytes, Predicate] = {}
    for candidate in order:
        mask = sample.mask(candidate) & sample.keep
        if (mask & sample.fires).any():
            found.setdefault(mask.tobytes(), candidate)
    return list(found.values())
