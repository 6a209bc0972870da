"""Checks of 06_reading_features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd

from saekit.corpora.predicates.predicate import within
from saekit.features.explanations.scoring import ExplanationScore

GOOD = 0.8  # F1, or score, from which on a latent or an explanation is a good one
FEW = 20  # windows of a kind below which a score of .8 may be luck: with 20 its interval reaches down to .65


def check_good_latent(latent: Any, latents: pd.DataFrame, examples: pd.DataFrame) -> str:
    """Is this latent a good one, and no flattering picture? Praise, or a diagnosis raised.

    Good: its best concept has F1 ≥ .8, at least half of its random firings carry that concept, and they are not all on
    one token text.

    latents: columns latent, firings, concept (None where none matches), f1. examples: columns latent, kind ("top" or
    "random"), text (of the token it fires on), concepts (the labels of that token)."""
    concept, f1 = _labelled(latent, latents)
    own = examples[examples["latent"] == int(latent)]
    top, drawn = own[own["kind"] == "top"], own[own["kind"] == "random"]
    if not len(top) or not len(drawn):
        raise ValueError(f"examples has no top or no random examples of latent {latent}; the check compares the two.")
    [(text, most)] = Counter(drawn["text"]).most_common(1)
    if len(drawn) > 1 and most / len(drawn) >= 0.9:
        raise AssertionError(
            f"{most} of {len(drawn)} random firings are on {text!r}: a detector of one token, however sure, is no "
            f"detector of {concept}. The model has an embedding for that."
        )
    of_top, of_drawn = _share(top, concept), _share(drawn, concept)
    if of_top >= GOOD and of_drawn < 0.5:
        raise AssertionError(
            f"{of_top:.0%} of its top examples are {concept}, but of its random firings only {of_drawn:.0%}: the top "
            "is a flattering picture. Read the random ones first."
        )
    if f1 < GOOD and of_drawn < GOOD:
        raise AssertionError(
            f"F1 of {concept} is {f1:.2f}, below {GOOD}, and {of_drawn:.0%} of its random firings are it: it fires on "
            "too much else."
        )
    if f1 < GOOD:
        raise AssertionError(
            f"what it fires on is {concept}, but F1 is {f1:.2f}, below {GOOD}: it misses most of the concept. Another "
            "latent may have it whole, or several share it."
        )
    if of_drawn < 0.5:
        raise AssertionError(
            f"F1 of {concept} is {f1:.2f} at a threshold, but of all firings, weak too, only {of_drawn:.0%} are it."
        )
    return f"Right: {concept} has F1 {f1:.2f}, and {of_drawn:.0%} of its random firings are it, not only its top."


def _labelled(latent: Any, latents: pd.DataFrame) -> tuple[str, float]:
    """The best concept of a latent and its F1. Raises a diagnosis where it is no latent, is dead, or has none."""
    if latent is None:
        raise AssertionError("that is None: put the number of a latent in its place.")
    if isinstance(latent, bool) or not hasattr(latent, "__index__"):
        raise AssertionError(f"a latent is given by its number, found {latent!r}.")
    rows = latents[latents["latent"] == int(latent)]
    if not len(rows):
        raise AssertionError(f"there is no latent {latent}: they go from 0 to {latents['latent'].max()}.")
    row = rows.iloc[0]
    if row["firings"] == 0:
        raise AssertionError(f"latent {latent} never fires: a dead latent can be given any name.")
    if not isinstance(row["concept"], str):
        raise AssertionError(f"latent {latent} fits no labelled concept: nobody can say whether its name is right.")
    return row["concept"], float(row["f1"])


def check_explanation(score: ExplanationScore, seen: Collection[int] = ()) -> str:
    """Does an explanation score ≥ .8 in detection and fuzzing on windows held out? Praise, or a diagnosis raised.

    seen: numbers of the documents that the explanation was written from."""
    if not isinstance(score, ExplanationScore):
        raise AssertionError(f"give what `store.explain` returned, found {type(score).__name__}.")
    both = sorted(score.documents & set(seen))
    if both:
        raise AssertionError(
            f"it was scored on document {both[0]}{' and others' if len(both) > 1 else ''} that it was written from: "
            "one remembers what one has read. Score on other documents."
        )
    detected, fuzzed = score.detected, score.fuzzed
    fewest = min(detected.positives, detected.negatives)
    if fewest < FEW:
        raise AssertionError(f"it was scored on {fewest} windows of a kind, which may be luck: take at least {FEW}.")
    if detected.recall < 0.6 and detected.specificity < 0.6:
        raise AssertionError(
            f"it is missing in {1 - detected.recall:.0%} of the windows with a firing and present in "
            f"{1 - detected.specificity:.0%} of those without: it describes something else. Read random firings."
        )
    if score.detection < GOOD and detected.recall <= detected.specificity:
        raise AssertionError(
            f"it holds in only {detected.recall:.0%} of the windows where the latent fires: you described only the top "
            "examples. Look at random firings, and at what they have in common."
        )
    if score.detection < GOOD:
        raise AssertionError(
            f"it also holds in {1 - detected.specificity:.0%} of the windows where the latent is silent: you described "
            "too much. Look at near misses, and say what is left out (& ~…)."
        )
    if not fuzzed.positives:
        raise AssertionError("fuzzing was not measured: the latent fires on every token of these windows.")
    if score.fuzzing < GOOD and fuzzed.recall < fuzzed.specificity:
        raise AssertionError(
            f"it finds the windows, but holds at the firing tokens in only {fuzzed.recall:.0%} of them: you described "
            "the neighbourhood. Say which token of it (after(…), before(…))."
        )
    if score.fuzzing < GOOD:
        raise AssertionError(
            f"it finds the windows, but {1 - fuzzed.specificity:.0%} of wrong markings look right to it: it holds all "
            "over a window in which the latent fires here and there. Say on which tokens."
        )
    return (
        f"Right: detection {score.detection:.2f} and fuzzing {score.fuzzing:.2f} on documents it was not written from."
    )


def check_share_by_quantile(share_by_quantile: Callable[[np.ndarray, np.ndarray], Any]) -> str:
    """Does ``share_by_quantile(strengths, carries)`` give the share of firings that carry the concept in each fifth of
    the firings, the weakest fifth first? Praise, or a diagnosis raised.

    strengths: float [n], of a latent's firings in any order, n a multiple of 5; carries: bool [n]."""
    for seed in (0, 1):
        strengths, carries = _flattering(seed)
        shares = share_by_quantile(strengths.copy(), carries.copy())
        if shares is None:
            raise AssertionError("share_by_quantile returned None: did you forget to return the shares?")
        try:
            found = np.asarray(shares, dtype=float)
        except (TypeError, ValueError):
            raise AssertionError(f"share_by_quantile should return five shares, found {shares!r}.") from None
        right = _hits(strengths, carries) / (len(carries) // 5)
        if found.ndim == 0:
            _single(float(found), right, carries)
        if found.shape != (5,):
            raise AssertionError(f"there are five bands, so five shares; found shape {list(found.shape)}.")
        if not np.allclose(found, right, atol=1e-6):
            _explain(found, right, strengths, carries)
    return (
        f"Right: here {right[4]:.0%} of the top fifth are the concept, of the weakest {right[0]:.0%}: the top flatters."
    )


def _share(examples: pd.DataFrame, concept: str) -> float:
    return float(np.mean([any(within(label, concept) for label in labels) for labels in examples["concepts"]]))


def _flattering(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """200 firings, most of them weak, of which the strong ones carry the concept and few of the weak ones do."""
    random = np.random.default_rng(seed)
    strengths = np.exp(1.2 * random.standard_normal(200))
    ranks = strengths.argsort().argsort() / 200
    return strengths, random.random(200) < 0.1 + 0.85 * ranks


def _hits(strengths: np.ndarray, carries: np.ndarray) -> np.ndarray:
    """Firings that carry the concept in each fifth, the weakest first."""
    return carries[strengths.argsort()].reshape(5, -1).sum(1)


def _single(found: float, right: np.ndarray, carries: np.ndarray) -> None:
    if np.isclose(found, right[4]):
        raise AssertionError(f"{found:.2f} is the top fifth alone: the other four are what one does not get to see.")
    if np.isclose(found, carries.mean()):
        raise AssertionError(f"{found:.2f} is the share over all firings: asked is one for each fifth.")
    raise AssertionError(f"asked are five shares, one a fifth; found the number {found:.2f}.")


def _explain(found: np.ndarray, right: np.ndarray, strengths: np.ndarray, carries: np.ndarray) -> None:
    hits, size = _hits(strengths, carries), len(carries) // 5
    up, down = np.cumsum(hits), np.cumsum(hits[::-1])[::-1]
    from_zero = np.minimum((strengths / strengths.max() * 5).astype(int), 4)
    from_least = np.linspace(strengths.min(), strengths.max(), 6)[1:-1].searchsorted(strengths, "right")
    intervals = (
        "these are intervals, equal parts of the way to the maximum: nearly all firings lie in the first and a handful "
        "in the last. Quantiles hold equally many firings each"
    )
    run_on = "the fifths run into one another: each has two edges, and here one is missing"
    mistakes = [
        (right[::-1], "the strongest fifth comes first: asked is the weakest first"),
        *((shares, intervals) for bands in (from_zero, from_least) for shares in _by_band(bands, carries)),
        (carries.reshape(5, -1).mean(1), "the firings are in no order: sort them by strength before cutting them"),
        (hits, "these are numbers of firings: divide by how many firings the fifth has"),
        (
            hits / carries.sum(),
            "they add up to 1: you divided by all firings of the concept. Asked is how much of a fifth is the concept, "
            "not how much of the concept is in a fifth",
        ),
        (hits / len(carries), "you divided by all firings, not by those of the fifth"),
        (1 - right, "this is the share without the concept"),
        (up / (size * np.arange(1, 6)), run_on),
        (down / (size * np.arange(5, 0, -1)), run_on),
    ]
    for wrong, diagnosis in mistakes:
        if np.allclose(found, wrong, atol=1e-6, equal_nan=True):
            raise AssertionError(f"{_said(found)} is not it: {diagnosis}.")
    raise AssertionError(f"for these firings the shares are {_said(right)}, your function says {_said(found)}.")


def _by_band(bands: np.ndarray, carries: np.ndarray) -> list[np.ndarray]:
    """The share in each band, with that of an empty one as 0 and as NaN: people write either."""
    hits, firings = np.bincount(bands, carries, 5), np.bincount(bands, minlength=5)
    shares = hits / np.maximum(firings, 1)
    return [shares, np.where(firings == 0, np.nan, shares)]


def _said(shares: np.ndarray) -> str:
    return "[" + ", ".join(f"{share:.2f}" for share in shares) + "]"
