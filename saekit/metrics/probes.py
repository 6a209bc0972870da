"""Probes: can a label be read off activations, or codes, by one direction? Beside what chance would score.

A logistic regression p = σ(w · x + b) with the penalty ‖w‖² / 2C on standardised x. It is judged on documents that it
was not fitted on: these are dealt into folds, each fold is scored by a probe of all others, and AUROC and accuracy are
those of the scores together. Chance is .5 for the AUROC, and for accuracy the share of the larger class. What a probe
finds is there to be read; that the model reads it is another question (Belinkov 2022, arXiv 2102.12452).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import torch
from jaxtyping import Bool, Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.files.arguments import whole
from saekit.metrics.intervals import Interval, Numbers, as_numpy, bootstrap, numbered
from saekit.metrics.pooled import as_csr


class _How(TypedDict):
    """Of the draws."""

    of: str
    draws: int
    seed: int


@dataclass(frozen=True, eq=False)
class Probe:
    """A direction that tells a label, and how well it does on documents that it was not fitted on.

    direction, bias: fitted on everything, in units of x: ``probe(x)`` = x · direction + bias, the log-odds.
    auroc:     the share of (true, false) pairs that are ordered right. chance_auroc: .5.
    accuracy:  of the sign of the log-odds. chance_accuracy: of the larger class, always said.
    scores:    [n], log-odds of each row by the probe that did not see its document; labels: [n].
    folds, penalty (C): as asked for.
    """

    direction: Float[Tensor, " d"]
    bias: float
    auroc: Interval
    accuracy: Interval
    chance_accuracy: float
    folds: int
    penalty: float
    scores: Float[Tensor, " n"] = field(repr=False)
    labels: Bool[Tensor, " n"] = field(repr=False)
    chance_auroc: float = 0.5

    def __call__(self, x: Float[Tensor, "*shape d"] | SparseCodes) -> Float[Tensor, "*shape"]:
        """Log-odds of the label; x: activations or codes of any number of rows."""
        if isinstance(x, SparseCodes):
            products = x.values * self.direction.to(x.values)[x.indices.long()]
            sums = products.new_zeros(len(x.offsets) - 1).index_add_(0, x.rows, products)
            return sums.view(x.shape) + self.bias
        return x @ self.direction.to(x) + self.bias

    @property
    def definition(self) -> str:
        """What was fitted, on what it was judged, and the chance beside it."""
        n, true = len(self.labels), int(self.labels.sum())
        return (
            f"logistic regression (C = {self.penalty:g}) on standardised activations of {n:,} rows, {true:,} true; "
            f"{self.folds} folds of {self.auroc.of}s; intervals: {self.auroc.definition}"
        )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row a number."""
        pairs = (("AUROC", self.auroc, self.chance_auroc), ("accuracy", self.accuracy, self.chance_accuracy))
        return [
            {"number": name, "value": each.value, "low": each.low, "high": each.high, "chance": chance}
            for name, each, chance in pairs
        ]

    def frame(self) -> Any:
        """AUROC and accuracy with their intervals and chance, as a frame."""
        import pandas

        return pandas.DataFrame(self.rows)

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self.rows, more=".definition")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self.rows, caption=self.definition)


def fit_probe(
    x: Float[Tensor, "n d"] | Float[np.ndarray, "n d"] | SparseCodes,
    labels: Numbers,
    documents: Numbers | None = None,
    *,
    folds: int = 5,
    penalty: float = 1.0,
    draws: int = 1000,
    seed: int = 0,
) -> Probe:
    """Fit a logistic probe, and judge it on documents that it was not fitted on.

    x:         activations [n, d], or SparseCodes of n rows (of tokens, or ``pool``ed by document).
    labels:    [n], true or false.
    documents: [n], the document of each row; None: each row is one of its own. No document is on both sides of a fold.
    folds:     how many. penalty: C, the inverse of its strength. draws: samples for the intervals. seed: of folds and
               draws.
    Returns a ``Probe``: ``probe.auroc``, ``probe.accuracy``, ``probe.direction``, drawn and as a frame. For example
    ``sk.metrics.fit_probe(acts.flat(site), is_plural, documents)``.
    Raises ValueError for labels that are not two-valued, other numbers of rows, activations that are not finite, and
    folds in which a label would be missing (naming the most that there can be).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, sparse = _matrix(x)
    y = _two_valued(labels, rows.shape[0])
    number = numbered(documents, len(y))
    most = min(len(np.unique(number[y == side])) for side in (False, True))
    folds = whole("folds", folds, 2)
    if most < folds:
        raise ValueError(
            f"one of the labels stands in {most} document{'' if most == 1 else 's'}, too few for folds={folds}: "
            + (f"folds={most} is the most." if most > 1 else "there must be 2 at least.")
        )

    def fitted(some: np.ndarray) -> Any:
        line = LogisticRegression(C=penalty, max_iter=2000)
        return make_pipeline(StandardScaler(with_mean=not sparse), line).fit(rows[some], y[some])

    scores = np.zeros(len(y))
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for others, own in dealt.split(np.zeros(len(y)), y, number):
        if len(np.unique(y[others])) < 2:
            raise ValueError(f"folds={folds} leaves one label alone to fit on: try folds={max(2, folds // 2)}.")
        scores[own] = fitted(others).decision_function(rows[own])
    scaler, line = (step for _, step in fitted(np.arange(len(y))).steps)
    direction = line.coef_[0] / scaler.scale_
    bias = float(line.intercept_[0]) - (0.0 if sparse else float(direction @ scaler.mean_))
    of = "row" if documents is None else "document"
    how = _How(of=of, draws=draws, seed=seed)
    right = ((scores > 0) == y).astype(np.float64)
    return Probe(
        torch.from_numpy(direction),
        bias,
        bootstrap(np.stack([scores, y], 1), number, _auroc_of, **how),
        bootstrap(right, number, **how),
        float(max(y.mean(), 1 - y.mean())),
        folds,
        penalty,
        torch.from_numpy(scores),
        torch.from_numpy(y),
    )


def auroc(scores: Numbers, labels: Numbers) -> float:
    """The share of pairs (a true row, a false one) in which the true one has the higher score; ties count half.

    scores, labels: [n]. NaN where a label is missing."""
    return _auroc_of(np.stack([as_numpy(scores).astype(np.float64), as_numpy(labels).astype(np.float64)], 1))


def _auroc_of(pairs: np.ndarray) -> float:
    """[n, 2], scores and labels: by the sum of the true ones' ranks (Mann and Whitney 1947)."""
    from scipy.stats import rankdata

    true = pairs[:, 1] > 0
    positives, negatives = int(true.sum()), int((~true).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(pairs[:, 0])[true].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def _matrix(x: Any) -> tuple[Any, bool]:
    """Rows as scikit-learn takes them, and whether they are sparse."""
    if isinstance(x, SparseCodes):
        rows, finite, sparse = as_csr(x).astype(np.float64), bool(torch.isfinite(x.values).all()), True
    else:
        given = torch.as_tensor(x).detach().cpu().double().numpy()
        if given.ndim != 2:
            raise ValueError(f"a probe reads rows [n, d], found shape {given.shape}.")
        rows, finite, sparse = given, np.isfinite(given).all(), False
    if not finite:
        raise ValueError("activations are NaN or infinite.")
    return rows, sparse


def _two_valued(labels: Numbers, n: int) -> np.ndarray:
    given = as_numpy(labels)
    if given.shape != (n,):
        raise ValueError(f"{n} rows need a label each, [{n}], found shape {given.shape}.")
    found = np.unique(given)
    if len(found) != 2 or not set(found.tolist()) <= {0, 1}:
        raise ValueError(f"labels are true and false, both present, found {found.tolist()[:5]}.")
    return given.astype(bool)
