"""An explanation for each of many latents, so that a list of them has names: proposed, scored and kept one by one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tqdm.std import tqdm

from saekit.corpora.predicates import Predicate
from saekit.features.explanations.proposals import Proposal

if TYPE_CHECKING:
    import pandas

    from saekit.features.labels.labels import Labels

AUTHOR = "propose"
CANDIDATES = 1000  # all there are
COST = 0.0025  # of F1 that a character has to bring: a name is short, and long lists of tokens are remembered, not seen
COLUMNS = ("latent", "explanation", "detection", "fuzzing", "author")


def explain_each(labels: Labels, latents: Sequence[int], explain: Callable[[int], object]) -> pandas.DataFrame:
    """Call `explain`, which keeps what it finds, for those of the latents that have no explanation yet. Ctrl-C ends it
    after what is kept. Returns all explanations of these latents, a row each, the best of a latent first."""
    import pandas

    asked = dict.fromkeys(latents)
    known = labels.best_explanations()
    left = [latent for latent in asked if latent not in known]
    try:
        for latent in tqdm(left, "explaining", unit=" latent", file=sys.stdout, delay=2):
            explain(latent)
    except KeyboardInterrupt:
        done = len(asked.keys() & labels.best_explanations().keys())
        print(f"Stopped: {done:,} of {len(asked):,} latents are explained and kept; the same call explains the rest.")
    rows = [row for row in labels.explanations() if row["latent"] in asked]
    rows.sort(key=lambda row: (row["latent"], -(row["detection"] or 0)))
    return pandas.DataFrame([{**row, "explanation": row["text"]} for row in rows], columns=list(COLUMNS))


def simplest(proposals: Sequence[Proposal]) -> Predicate:
    """The one with the best F1 for its length; the earlier of equal ones."""
    return max(proposals, key=lambda one: one.f1 - COST * len(str(one.predicate))).predicate
