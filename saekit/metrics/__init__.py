"""Metrics: one file a question; each also a function of plain arrays."""

from __future__ import annotations

from saekit.metrics.concept_match import ConceptMatch, concept_match, match_concepts
from saekit.metrics.evaluate import Report, evaluate
from saekit.metrics.explained_variance import ExplainedVariance, explained_variance
from saekit.metrics.latent_max import measure_latent_max
from saekit.metrics.logit_lens import LogitLens, logit_lens
from saekit.metrics.mcc import mcc
from saekit.metrics.recovered import Recovered, recovered
from saekit.metrics.shrinkage import shrinkage
from saekit.metrics.sparsity import dead, density, l0

__all__ = [
    "ConceptMatch",
    "ExplainedVariance",
    "LogitLens",
    "Recovered",
    "Report",
    "concept_match",
    "dead",
    "density",
    "evaluate",
    "explained_variance",
    "l0",
    "logit_lens",
    "match_concepts",
    "mcc",
    "measure_latent_max",
    "recovered",
    "shrinkage",
]
