"""Checks under the curriculum's exercises: is an answer right and, if not, what went wrong?"""

from __future__ import annotations

from saekit.checks.reading_features import check_explanation, check_good_latent, check_share_by_quantile
from saekit.checks.start_here import check_f1, check_find_latent
from saekit.checks.superposition import check_found, check_sparsity_loss
from saekit.checks.training import check_better, check_explained_variance

__all__ = [
    "check_better",
    "check_explained_variance",
    "check_explanation",
    "check_f1",
    "check_find_latent",
    "check_found",
    "check_good_latent",
    "check_share_by_quantile",
    "check_sparsity_loss",
]
