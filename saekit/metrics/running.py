"""run: metrics of a dictionary on a corpus, all in one pass of the text through the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.activations.arrays import by_site
from saekit.activations.finite import check_finite
from saekit.activations.source import Readable
from saekit.dictionaries import Dictionary, check_model, check_one_site
from saekit.dictionaries.coded import TOKENS_AT_ONCE, coded
from saekit.dictionaries.provenance import check_named
from saekit.engines.threads import products_of, threads_for, working_with
from saekit.files.progress import Bar
from saekit.metrics.metric import Metric, Number, Result, RowMetric
from saekit.metrics.reading import Reading, rounded
from saekit.models import Passed, SeveralModels, by_model, check_site, forward, joined, together

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@torch.no_grad()
def run(
    model: TransformerBridge | SeveralModels,
    dictionary: Dictionary,
    source: Readable,
    tokens: int | str | None,
    metrics: Sequence[Metric],
    **how: Any,
) -> tuple[Reading, list[Number | Result | None]]:
    """What was read, and the result of each metric; in memory are a few thousand tokens at a time. how: exclude and
    context, as in ``tokenize``.

    Raises ValueError for a dictionary of another model (naming both hashes), an empty corpus, an endless one without
    ``tokens``, and NaN or infinite activations (naming the batch).
    """
    model = together(model)
    check_model(dictionary, model)
    check_named(dictionary)
    check_one_site(dictionary)
    for site in dictionary.reads + dictionary.writes:
        check_site(model, site)
    reading = Reading(model, source, tokens, bos=dictionary.provenance.prepend_bos, **how)
    try:
        for metric in metrics:
            metric.begin(model, dictionary, reading.concepts)
        with (
            Bar(total=reading.tokens, desc="evaluate", unit=" token", unit_scale=True, leave=False) as bar,
            working_with(threads_for(products_of(model, dictionary), str(model.cfg.device))),
        ):
            for batch in coded(dictionary, _activations(model, dictionary, reading, metrics)):
                for metric in metrics:
                    metric.update(batch)
                bar.update(len(batch.codes))
        return reading, [metric.result() for metric in metrics]
    finally:
        for metric in metrics:
            metric.close()


@torch.no_grad()
def run_on_arrays(
    x: Any, dictionary: Dictionary, metrics: Sequence[Metric]
) -> tuple[int, list[Number | Result | None]]:
    """How many rows there are, and the result of each metric, over activations without a model: an array [n, d], or one
    for each site. Nothing stands beside the activations.

    Raises ValueError for a width that is not the dictionary's, NaN or infinite activations, and a metric of the model's
    predictions."""
    for metric in metrics:
        if isinstance(metric, RowMetric):
            raise ValueError(f"{type(metric).__name__} is of a model's predictions: sk.evaluate(model, sae, corpus).")
    arrays = by_site(x, list(dict.fromkeys(dictionary.reads + dictionary.writes)))
    for site, array in arrays.items():
        if array.ndim != 2 or not len(array):
            raise ValueError(f"activations at {str(site)!r} are [n, d] with n ≥ 1, found shape {tuple(array.shape)}.")
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"there must be as many rows at each site, found {[len(a) for a in arrays.values()]}.")
    dictionary.join_reads(arrays), dictionary.join_writes(arrays)  # names the site whose width is wrong
    rows = len(next(iter(arrays.values())))
    try:
        for metric in metrics:
            metric.begin(None, dictionary, ())
        for batch in coded(dictionary, _parts(arrays, rows)):
            for metric in metrics:
                metric.update(batch)
        return rows, [metric.result() for metric in metrics]
    finally:
        for metric in metrics:
            metric.close()


def _parts(arrays: dict[str, Tensor], rows: int) -> Iterator[dict[str, Tensor]]:
    for number, start in enumerate(range(0, rows, TOKENS_AT_ONCE)):
        part = {site: array[start : start + TOKENS_AT_ONCE] for site, array in arrays.items()}
        for site, h in part.items():
            check_finite(h, site, number)
        yield part


def _activations(
    model: TransformerBridge | SeveralModels, dictionary: Dictionary, reading: Reading, metrics: Sequence[Metric]
) -> Iterator[dict[str, Tensor]]:
    """Activations of counted tokens by site, [n, d], and the columns beside them; metrics of rows look on."""
    sites = [*dict.fromkeys(dictionary.reads + dictionary.writes)]
    models = by_model(model, sites)
    for number, (rows, columns) in enumerate(reading):
        asked = [(metric, metric.wanted(rows)) for metric in metrics if isinstance(metric, RowMetric)]
        asked = [(metric, where) for metric, where in asked if where.any()]
        lengths = rounded(rows.lengths).clamp_max(rows.tokens.shape[1])
        kept: dict[str, Tensor] = {}
        logits: list[tuple[RowMetric, Tensor]] = []
        for own in models:
            wanted = [(metric, where) for metric, where in asked if (metric.of or models[0].name) == own.name]
            everywhere = torch.stack([where for _, where in wanted]).any(0) if wanted else False
            passed = forward(own.model, rows.tokens, [*own.hooks.values()], logits=everywhere, lengths=lengths)
            kept |= {site: passed.kept[hook] for site, hook in own.hooks.items()}
            for metric, where in wanted:
                assert passed.logits is not None and isinstance(everywhere, Tensor)
                some = where[everywhere].to(passed.logits.device)
                logits.append((metric, passed.logits if some.all() else passed.logits[some]))
        kept = {site: kept[site] for site in sites}
        for site, h in kept.items():
            check_finite(h, site, number)
        x = {site: joined(h, site)[rows.mask.to(h.device)].to("cpu") for site, h in kept.items()}
        if not number:
            dictionary.join_reads(x), dictionary.join_writes(x)  # names the site whose width is wrong
        for metric, predictions in logits:
            metric.read(rows, Passed(kept, predictions))
        yield x | {name: column[rows.mask] for name, column in columns.items()}
