"""Metrics: one file a question; each also a function of plain arrays. How one is added: README.md, beside this file."""

from __future__ import annotations

from saekit.metrics.concepts import ConceptMatch, concept_match, match_concepts
from saekit.metrics.correlation import mcc
from saekit.metrics.evaluation import evaluate
from saekit.metrics.latent_max import largest_codes, measure_latent_max
from saekit.metrics.lens import LogitLens, logit_lens
from saekit.metrics.metric import Metric, Number, Result, RowMetric
from saekit.metrics.recovery import Recovered, recovered
from saekit.metrics.report import Report
from saekit.metrics.scale import shrinkage
from saekit.metrics.sparsity import dead, density, l0
from saekit.metrics.variance import ExplainedVariance, explained_variance

__all__ = [
    "ConceptMatch",
    "ExplainedVariance",
    "LogitLens",
    "Metric",
    "Number",
    "Recovered",
    "Report",
    "Result",
    "RowMetric",
    "concept_match",
    "dead",
    "density",
    "evaluate",
    "explained_variance",
    "l0",
    "largest_codes",
    "logit_lens",
    "match_concepts",
    "mcc",
    "measure_latent_max",
    "recovered",
    "shrinkage",
]


def __dir__() -> list[str]:
    return [*__all__]
