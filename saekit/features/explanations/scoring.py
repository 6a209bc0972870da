"""score: how well an explanation foretells, on windows that were not used to write it, where a latent fires.

Detection: balanced accuracy, the mean of the share of activating windows in which the judge expects a firing and of
the share of silent windows in which it does not. Fuzzing: the same on marked tokens; each activating window is shown
once with tokens marked on which the latent fires and once with as many random silent tokens of that window. 0.5 is
chance. The judge sees right and wrong ones in a random order. Both are from Paulo et al., 2410.13928 (Automatically
Interpreting Millions of Features in Large Language Models).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from saekit.features.asking.windows import Window
from saekit.features.explanations.judge import Explanation, Judge, MarkedWindow, PredicateJudge, explanation_text

DEFINITION = (__doc__ or "").split("\n\n", 1)[-1].strip()
FEWEST = 2  # windows of a kind
ENOUGH = 50  # windows of a kind: with fewer the interval is wide


@dataclass(frozen=True)
class Answers:
    """Confusion numbers of a judge: of `positives` it accepted `hits`, of `negatives` it turned away `rejected`."""

    hits: int
    positives: int
    rejected: int
    negatives: int

    @property
    def recall(self) -> float:
        """Share of the positives that were accepted; NaN where there is none."""
        return self.hits / self.positives if self.positives else math.nan

    @property
    def specificity(self) -> float:
        """Share of the negatives that were turned away; NaN where there is none."""
        return self.rejected / self.negatives if self.negatives else math.nan

    @property
    def balanced_accuracy(self) -> float:
        """(recall + specificity) / 2; 0.5 is chance."""
        return (self.recall + self.specificity) / 2

    @property
    def interval(self) -> tuple[float, float]:
        """95 %: Wilson's interval of each share, joined as for a sum of independent shares (Newcombe 1998)."""
        (low_r, high_r), (low_s, high_s) = wilson(self.hits, self.positives), wilson(self.rejected, self.negatives)
        low = math.hypot(self.recall - low_r, self.specificity - low_s) / 2
        high = math.hypot(high_r - self.recall, high_s - self.specificity) / 2
        return self.balanced_accuracy - low, self.balanced_accuracy + high


@dataclass(frozen=True, repr=False)
class ExplanationScore:
    """The scores of one explanation.

    explanation and judge as text; `detected` and `fuzzed` with all numbers; `documents` that were used to score, so
    that nobody scores on what was read; `note` says what to mind, "" where there is nothing.

    `seed` of the draws; `definition` of the two scores.
    """

    explanation: str
    judge: str
    detected: Answers
    fuzzed: Answers
    documents: frozenset[int]
    seed: int
    note: str = ""
    definition: str = DEFINITION

    @property
    def detection(self) -> float:
        """Balanced accuracy on windows."""
        return self.detected.balanced_accuracy

    @property
    def fuzzing(self) -> float:
        """Balanced accuracy on marked tokens; NaN where no activating window has a silent token."""
        return self.fuzzed.balanced_accuracy

    def rows(self) -> list[dict[str, object]]:
        """Both scores with their intervals and counts, as a table's rows."""
        rows = []
        for name, answers in (("detection", self.detected), ("fuzzing", self.fuzzed)):
            low, high = answers.interval
            rows.append(
                {
                    "score": name,
                    "balanced accuracy": answers.balanced_accuracy,
                    "95 % from": low,
                    "to": high,
                    "right accepted": f"{answers.hits} of {answers.positives}",
                    "wrong turned away": f"{answers.rejected} of {answers.negatives}",
                }
            )
        return rows

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        return f"{self.explanation}: detection {self.detection:.2f}, fuzzing {self.fuzzing:.2f}{note}"

    def __repr__(self) -> str:
        return f"<ExplanationScore: {self}>"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        definition = " ".join(self.definition.split())
        header = "\n".join(filter(None, [f"{self.judge}, seed {self.seed}", self.note, definition]))
        return html_table(self.rows(), caption=self.explanation, header=header)


def score(
    explanation: Explanation,
    positives: Sequence[Window],
    negatives: Sequence[Window],
    judge: Judge | None = None,
    seed: int = 0,
) -> ExplanationScore:
    """Detection and fuzzing of an explanation (2410.13928).

    Args:
        explanation: a predicate or the text of one; free text with a judge that is a chat model.
        positives: windows in which the latent fires, drawn at random from its firings: top ones alone flatter.
        negatives: windows drawn at random in which it never fires.
        judge: by default the predicate judges by itself.
        seed: of the wrong tokens marked and of the order in which the judge sees all.

    Raises ValueError for fewer than 2 windows of a kind, a positive window in which it never fires, a negative one in
    which it does, and free text without a chat model. Below 50 of a kind the score's note says so.
    """
    text, judge = explanation_text(explanation), PredicateJudge() if judge is None else judge
    _check(positives, negatives)
    chance = random.Random(seed)
    right, wrong = _marked(positives, chance)
    detected = _answers(partial(judge.detect, explanation), positives, negatives, chance)
    fuzzed = _answers(partial(judge.fuzz, explanation), right, wrong, chance)
    notes = []
    if min(len(positives), len(negatives)) < ENOUGH:
        notes.append(
            f"only {len(positives)} activating and {len(negatives)} silent windows, {ENOUGH} of each are usual"
        )
    if len(right) < len(positives):
        lacking = len(positives) - len(right)
        notes.append(f"{lacking} activating windows have no silent token and are left out of fuzzing")
    documents = frozenset(window.document for window in [*positives, *negatives])
    return ExplanationScore(text, repr(judge), detected, fuzzed, documents, seed, "; ".join(notes))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of the share hits / n; NaN for n = 0."""
    if n == 0:
        return math.nan, math.nan
    from scipy.stats import binomtest  # here, since it is slow to load

    found = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


def _check(positives: Sequence[Window], negatives: Sequence[Window]) -> None:
    for kind, windows in (("activating", positives), ("silent", negatives)):
        if len(windows) < FEWEST:
            raise ValueError(
                f"a score needs at least {FEWEST} {kind} windows, better {ENOUGH}, found {len(windows)}: "
                "they are of documents that no example shows, of which a store on more tokens has more."
            )
    for window in positives:
        if not any(_firings(window)):
            raise ValueError(
                f"the latent fires nowhere in the activating window {_where(window)}: is it a negative one?"
            )
    for window in negatives:
        if any(_firings(window)):
            raise ValueError(f"the latent fires in the negative window {_where(window)}: draw one where it is silent.")


def _firings(window: Window) -> list[bool]:
    return [value != 0 and counted for value, counted in zip(window.values, window.counted, strict=True)]


def _where(window: Window) -> str:
    return f"at place {window.places[0] if window.places else '?'} of document {window.document}"


def _marked(windows: Sequence[Window], chance: random.Random) -> tuple[list[MarkedWindow], list[MarkedWindow]]:
    """Each window once with firing tokens marked and once with as many silent ones; without those that are all firing.

    Where firings outnumber silent tokens as many of them are drawn: the number of marks must give nothing away."""
    right: list[MarkedWindow] = []
    wrong: list[MarkedWindow] = []
    for window in windows:
        firings = _firings(window)
        fires = [i for i, fired in enumerate(firings) if fired]
        silent = [i for i, counted in enumerate(window.counted) if counted and not firings[i]]
        n = min(len(fires), len(silent))
        if n:
            for places, marked in ((fires, right), (silent, wrong)):
                drawn = set(chance.sample(places, n))
                marked.append(MarkedWindow(window, tuple(i in drawn for i in range(len(firings)))))
    return right, wrong


def _answers(
    ask: Callable[[list[Any]], list[bool]], right: Sequence[object], wrong: Sequence[object], chance: random.Random
) -> Answers:
    asked = [*((one, True) for one in right), *((one, False) for one in wrong)]
    chance.shuffle(asked)
    said = ask([one for one, _ in asked])
    if len(said) != len(asked):
        raise ValueError(f"the judge was asked about {len(asked)} windows and gave {len(said)} answers.")
    hits = sum(bool(answer) for answer, (_, is_right) in zip(said, asked, strict=True) if is_right)
    rejected = sum(not answer for answer, (_, is_right) in zip(said, asked, strict=True) if not is_right)
    return Answers(hits, len(right), rejected, len(wrong))
