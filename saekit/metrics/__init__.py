"""Metrics: one file a question; each also a function of plain arrays. How one is added: README.md, beside this file."""

from __future__ import annotations

from saekit.metrics.answering import Answers, answers
from saekit.metrics.attention import AttentionSources, attention_sources
from saekit.metrics.concepts import ConceptMatch, concept_match, match_concepts
from saekit.metrics.correlation import mcc
from saekit.metrics.evaluation import evaluate
from saekit.metrics.grouping import LayerGroups, layer_groups
from saekit.metrics.heads import HeadLatents, decoder_shares, head_latents
from saekit.metrics.intervals import Interval, bootstrap
from saekit.metrics.latent_max import largest_codes, measure_latent_max
from saekit.metrics.layers import LatentLayers
from saekit.metrics.layers_read import latent_layers
from saekit.metrics.lens import LogitLens, logit_lens
from saekit.metrics.metric import Metric, Number, Result, RowMetric
from saekit.metrics.pooled import Pooled, pool, pooled_codes
from saekit.metrics.prefixes import PrefixLatents, prefix_latents, prefix_needed, prefix_prompts
from saekit.metrics.probes import Probe, auroc, fit_probe
from saekit.metrics.recovery import Recovered, recovered
from saekit.metrics.report import Report
from saekit.metrics.scale import shrinkage
from saekit.metrics.shared import SharedLatents, shared_latents
from saekit.metrics.sides import OneSided, one_sided
from saekit.metrics.sparsity import dead, density, l0
from saekit.metrics.special_tokens import SpecialTokenErrors, SpecialTokens, special_token_errors
from saekit.metrics.variance import ExplainedVariance, explained_variance

__all__ = [
    "Answers",
    "AttentionSources",
    "ConceptMatch",
    "ExplainedVariance",
    "HeadLatents",
    "Interval",
    "LatentLayers",
    "LayerGroups",
    "LogitLens",
    "Metric",
    "Number",
    "OneSided",
    "Pooled",
    "PrefixLatents",
    "Probe",
    "Recovered",
    "Report",
    "Result",
    "RowMetric",
    "SharedLatents",
    "SpecialTokenErrors",
    "SpecialTokens",
    "answers",
    "attention_sources",
    "auroc",
    "bootstrap",
    "concept_match",
    "dead",
    "decoder_shares",
    "density",
    "evaluate",
    "explained_variance",
    "fit_probe",
    "head_latents",
    "l0",
    "largest_codes",
    "latent_layers",
    "layer_groups",
    "logit_lens",
    "match_concepts",
    "mcc",
    "measure_latent_max",
    "one_sided",
    "pool",
    "pooled_codes",
    "prefix_latents",
    "prefix_needed",
    "prefix_prompts",
    "recovered",
    "shared_latents",
    "shrinkage",
    "special_token_errors",
]


def __dir__() -> list[str]:
    return [*__all__]
