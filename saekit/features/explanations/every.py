"""An explanation for each of many latents, so that a list of them has names: proposed, scored and kept one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from saekit.corpora.predicates import Predicate
from saekit.features.explanations.judge import Explanation, explanation_text
from saekit.features.explanations.proposals import Proposal
from saekit.files.progress import Bar, say
from saekit.files.stopping import whole_step

if TYPE_CHECKING:
    import pandas

    from saekit.features.labels.labels import Labels

Row = tuple[Any, ...]
"""what Labels.add_explanation takes, in its order"""

AUTHOR = "propose"
CANDIDATES = 1000  # all there are
COST = 0.0025  # of F1 that a character has to bring: a name is short, and long lists of tokens are remembered, not seen
TOGETHER = 16  # explanations that are written at once
COLUMNS = ("latent", "explanation", "detection", "fuzzing", "author")


def explain_each(labels: Labels, latents: Sequence[int], explain: Callable[[int], Row | None]) -> pandas.DataFrame:
    """Call `explain` for those of the latents that have no explanation yet, and keep what it finds. Ctrl-C ends it and
    keeps what is found. Returns all explanations of these latents, a row each, the best of a latent first."""
    import pandas

    asked = dict.fromkeys(latents)
    known = labels.best_explanations()
    left = [latent for latent in asked if latent not in known]
    found: list[Row] = []
    stopped = False
    try:
        with Bar(total=len(left), desc="explaining", unit=" latent") as bar:
            for latent in left:
                row = explain(latent)
                found += [] if row is None else [row]
                if len(found) == TOGETHER:
                    with whole_step():
                        labels.add_explanations(found)
                        found = []
                bar.update()
    except KeyboardInterrupt:
        stopped = True
    finally:
        if found:
            labels.add_explanations(found)
    if stopped:
        done = len(asked.keys() & labels.best_explanations().keys())
        say(f"Stopped: {done:,} of {len(asked):,} latents are explained and kept; the same call explains the rest.")
    rows = [row for row in labels.explanations() if row["latent"] in asked]
    rows.sort(key=lambda row: (row["latent"], -(row["detection"] or 0)))
    return pandas.DataFrame([{**row, "explanation": row["text"]} for row in rows], columns=list(COLUMNS))


def as_row(latent: int, explanation: Explanation, author: str, *scores: float) -> Row:
    """An explanation as labels keep it; scores: detection and fuzzing, where they were measured."""
    data = json.dumps(explanation.to_json()) if isinstance(explanation, Predicate) else None
    kept = [score if math.isfinite(score) else None for score in scores]
    return (latent, explanation_text(explanation), data, author, *(kept or [None, None]))


def simplest(proposals: Sequence[Proposal]) -> Predicate:
    """The one with the best F1 for its length; the earlier of equal ones."""
    return max(proposals, key=lambda one: one.f1 - COST * len(str(one.predicate))).predicate
