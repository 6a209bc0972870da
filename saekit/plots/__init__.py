"""Pictures: an Altair theme, one renderer that draws without a network, the charts, and tokens drawn as text.

This package imports no other part of saekit. Charts take pandas frames, everything else takes plain sequences.
Altair is imported by the first chart that is drawn, so `import saekit.plots` costs next to nothing.
"""

from __future__ import annotations

from saekit.plots.cells import heatmap
from saekit.plots.charts import concept_scores, density_histogram, next_token_change, training_curve
from saekit.plots.compare import bars, curves
from saekit.plots.plain import sparkline, text_concordance, text_table
from saekit.plots.scatter import points
from saekit.plots.table import html_table
from saekit.plots.theme import enable
from saekit.plots.tokens import Concordance, TokensView, concordance, shown, tokens_view

__all__ = [
    "Concordance",
    "TokensView",
    "bars",
    "concept_scores",
    "concordance",
    "curves",
    "density_histogram",
    "enable",
    "heatmap",
    "html_table",
    "next_token_change",
    "points",
    "shown",
    "sparkline",
    "text_concordance",
    "text_table",
    "tokens_view",
    "training_curve",
]


def __dir__() -> list[str]:
    return [*__all__]
