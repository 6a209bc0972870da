"""CE and KL recovered: how much of what a site does for the next token survives the reconstruction.

CE recovered = (CE_ablated − CE_spliced) / (CE_ablated − CE_clean); KL recovered = 1 − KL(clean ‖ spliced) / KL(clean ‖
ablated). Spliced: x̂ in the place of the activation; ablated: zero in its place, or the mean over these tokens. Tokens
that are not counted (BOS, padding) keep their own activation in every run. Averages run over the predictions made at
counted tokens of the token that follows, where one does. Of several models one is spliced or ablated at its own sites,
with the codes of what they all have at the same tokens. Several dictionaries, and the layers of a cross-layer one, are
spliced and ablated together; each reads what arrives at it, which those before it have changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saekit.activations import TokenRows
from saekit.dictionaries import Dictionary
from saekit.files.choices import checked, unknown
from saekit.interventions.checks import check_each_once, check_order
from saekit.interventions.running import Step, running
from saekit.interventions.splicing import SplicePart
from saekit.interventions.standing import Standing
from saekit.metrics.metric import Number, RowMetric
from saekit.models import (
    ROWS_AT_ONCE,
    Change,
    Passed,
    SeveralModels,
    Site,
    by_model,
    check_edit_site,
    forward,
    joined,
    put,
    together,
)

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ABLATIONS = ("zero", "mean")


@dataclass(frozen=True)
class Recovered:
    """Mean over ``tokens`` predictions, in nats: cross-entropy of the next token, and KL from the clean prediction.

    ce_clean, ce_spliced, ce_ablated, kl_spliced, kl_ablated: in nats. ablation: "zero" or "mean". of: of several models
    the name of the one that predicts."""

    ce_clean: float
    ce_spliced: float
    ce_ablated: float
    kl_spliced: float
    kl_ablated: float
    tokens: int
    ablation: str
    of: str | None = None

    @property
    def ce_recovered(self) -> float:
        """1 where splicing costs nothing, 0 where it is as bad as ablation; NaN where ablation costs nothing."""
        return _share(self.ce_ablated - self.ce_spliced, self.ce_ablated - self.ce_clean)

    @property
    def kl_recovered(self) -> float:
        """1 where the predictions stay the same, 0 where splicing changes them as much as ablation does."""
        return _share(self.kl_ablated - self.kl_spliced, self.kl_ablated)

    @property
    def definition(self) -> str:
        """The equation, the ablation and how many predictions."""
        return (
            f"(ablated − spliced) / (ablated − clean), {self.ablation} ablation at counted tokens, {self.tokens:,} "
            f"predictions{self._of} made there"
        )

    @property
    def numbers(self) -> list[Number]:
        """CE recovered and KL recovered, of several models with the name of the one."""
        ce_beside = f"1 is all; nats: clean {self.ce_clean:.2f}, spliced {self.ce_spliced:.2f}"
        ce_beside += f", {self.ablation} ablation {self.ce_ablated:.2f}"
        kl_beside = f"1 is all; nats: spliced {self.kl_spliced:.2f}, {self.ablation} ablation {self.kl_ablated:.2f}"
        kl = "1 − KL(clean ‖ spliced) / KL(clean ‖ ablated), there"
        return [
            Number(f"CE recovered{self._of}", self.ce_recovered, self.definition, beside=ce_beside),
            Number(f"KL recovered{self._of}", self.kl_recovered, kl, beside=kl_beside),
        ]

    @property
    def _of(self) -> str:
        return "" if self.of is None else f" of {self.of}"


class Recovery(RowMetric):
    """Runs the model spliced and ablated over the first rows, as few as make ``tokens`` predictions; None: over all. Of
    several models that is the one ``of`` this name, by default the first that the dictionary writes.

    Mean ablation runs after the last row, when the mean is known: then those rows are run clean once more.
    Raises ValueError for an unknown ablation.
    """

    def __init__(self, ablation: str = "zero", tokens: int | None = None, of: str | None = None) -> None:
        """ablation: "zero" or "mean"."""
        self.ablation, self.tokens, self.of = checked("ablation", ablation, ABLATIONS), tokens, of

    def begin(
        self,
        model: TransformerBridge | SeveralModels,
        dictionary: Dictionary | Sequence[Dictionary],
        concepts: Sequence[str] = (),
    ) -> None:
        """Raises ValueError for a site where the model cannot be spliced, one that the dictionary reads only after it
        writes there, and a name of none of several models that it writes."""
        several = [dictionary] if isinstance(dictionary, Dictionary) else list(dictionary)
        self.models, self.standings = model, [Standing(each) for each in several]
        check_each_once(self.standings)
        written = by_model(model, [site for standing in self.standings for site in standing.writes])
        names = [own.name for own in written]
        if self.of is not None and self.of not in names:
            raise ValueError(unknown("the dictionary does not write the model", self.of, names))
        one = written[0 if self.of is None else names.index(self.of)]
        self.model, self.writes, self.of = one.model, one.hooks, one.name or None
        for site in self.writes:
            check_edit_site(model, site)
        for standing in self.standings:
            check_order(model, standing)
        self.predictions, self.counted = 0, 0
        self.sums = torch.zeros(5, dtype=torch.float64)
        self.totals: dict[str, Tensor] = {}
        self.waiting: list[TokenRows] = []

    def wanted(self, rows: TokenRows) -> Bool[Tensor, "row position"]:
        """The predictions of the rows that are still needed."""
        where = rows.predicts
        where[self._needed(rows) :] = False
        return where

    def read(self, rows: TokenRows, clean: Passed) -> None:
        """Splice and ablate at once where nothing must be known of later rows."""
        needed = self._needed(rows)
        rows = rows.split(needed)[0]
        clean = Passed({site: h[:needed] for site, h in clean.kept.items()}, clean.logits)
        self.predictions += int(rows.predicts.sum())
        if self.ablation == "zero":
            self.sums += self._sums(rows, clean, {})
            return
        self.waiting.append(rows)
        self.counted += int(rows.mask.sum())
        for site in self.writes:
            total = joined(clean.kept[site], site).cpu()[rows.mask].double().sum(0)
            self.totals[site] = self.totals[site] + total if site in self.totals else total

    def result(self) -> Recovered:
        """Means over the predictions. Raises ValueError where there was none."""
        if not self.predictions:
            raise ValueError("no counted token is followed by another: there is no prediction to judge.")
        mean = {site: total / self.counted for site, total in self.totals.items()}
        for rows in self.waiting:
            self.sums += self._sums(rows, self.clean(rows, rows.predicts), mean)
        self.waiting = []
        ce_clean, ce_spliced, ce_ablated, kl_spliced, kl_ablated = (self.sums / self.predictions).tolist()
        counted = (self.predictions, self.ablation, self.of)
        return Recovered(ce_clean, ce_spliced, ce_ablated, kl_spliced, kl_ablated, *counted)

    def clean(self, rows: TokenRows, where: Bool[Tensor, "row position"]) -> Passed:
        """A pass of the rows in which nothing is changed: activations of all models, and the one's logits where they
        are wanted."""
        kept, logits = dict[str, Tensor](), None
        reads = [site for standing in self.standings for site in standing.reads]
        for own in by_model(self.models, dict.fromkeys([*reads, *self.writes])):
            wanted = where if own.model is self.model else False
            passed = forward(own.model, rows.tokens, [*own.hooks.values()], logits=wanted)
            kept |= {site: passed.kept[hook] for site, hook in own.hooks.items()}
            logits = passed.logits if own.model is self.model else logits
        return Passed(kept, logits)

    def _needed(self, rows: TokenRows) -> int:
        """How many of the rows that come next make the predictions that are still wanted."""
        if self.tokens is None:
            return len(rows)
        counts = rows.predicts.sum(1)
        return int((self.predictions + counts.cumsum(0) - counts < self.tokens).sum())

    def _sums(self, rows: TokenRows, clean: Passed, mean: dict[str, Tensor]) -> Float[Tensor, " 5"]:
        """Summed over the predictions of these rows: CE clean, spliced, ablated, KL spliced, ablated."""
        ablated = {site: mean.get(site, torch.zeros(())) for site in self.writes}
        passes = [clean, self._spliced(rows, clean), self._replaced(rows, clean, ablated)]
        log_p, log_q, log_r = (_log_softmax(passed) for passed in passes)
        target = rows.tokens.roll(-1, 1)[rows.predicts].to(log_p.device)[:, None]
        p = log_p.exp()
        numbers = [-each.gather(1, target).cpu().double().sum() for each in (log_p, log_q, log_r)]
        numbers += [(p * (log_p - each)).sum(1).cpu().double().sum() for each in (log_q, log_r)]
        return torch.stack(numbers)

    def _spliced(self, rows: TokenRows, clean: Passed) -> Passed:
        """A pass with x̂ at the counted tokens."""
        standing, mask = self.standings[0], rows.mask
        if len(self.standings) > 1 or standing.layerwise:  # what arrives is no longer what a clean pass has there
            steps = [Step(SplicePart(each, False), lambda call, length: mask) for each in self.standings]
            with running(self.models, lambda name: steps):
                return forward(self.model, rows.tokens, logits=rows.predicts)
        x = {site: joined(clean.kept[site], site)[mask.to(clean.kept[site].device)] for site in standing.reads}
        codes = standing.encode(x)
        x_hat = {site: _placed(standing.decode(codes, x, Site(site)), mask) for site in self.writes}
        return self._replaced(rows, clean, x_hat)

    def _replaced(self, rows: TokenRows, clean: Passed, values: dict[str, Tensor]) -> Passed:
        """A pass with these values at the counted tokens, by site."""
        changes = {site: put(value, rows.mask) for site, value in values.items()}
        arrived: dict[str, Tensor | Change] = {self.writes[site]: change for site, change in changes.items()}
        if len(changes) == 1:  # it is known what arrives there, so that what comes before need not be run
            arrived = {self.writes[site]: change(clean.kept[site], clean.kept) for site, change in changes.items()}
        return forward(self.model, rows.tokens, replace=arrived, logits=rows.predicts)


@torch.no_grad()
def recovered(
    model: TransformerBridge | Any,
    dictionary: Dictionary | Sequence[Dictionary],
    rows: TokenRows,
    tokens: int | None = None,
    ablation: str = "zero",
    of: str | None = None,
) -> Recovered:
    """Run the model clean, spliced and ablated over rows of tokens, the first ones that make ``tokens`` predictions.

    dictionary: of this model, or of several by their names; several dictionaries, of different sites, are spliced and
                ablated together. of: the one of several models that is spliced and ablated; None: the first that the
                dictionary writes.
    Raises ValueError for an unknown ablation, a site where the model cannot be spliced, and rows without a prediction.
    """
    metric = Recovery(ablation, tokens, of)
    metric.begin(together(model), dictionary)
    for part in rows.split(ROWS_AT_ONCE):
        if (where := metric.wanted(part)).any():
            metric.read(part, metric.clean(part, where))
    return metric.result()


def _placed(x_hat: Float[Tensor, "n d"], mask: Bool[Tensor, "row position"]) -> Float[Tensor, "row position d"]:
    """At the tokens it was made of; 0 elsewhere."""
    placed = x_hat.new_zeros(*mask.shape, x_hat.shape[-1])
    placed[mask.to(placed.device)] = x_hat
    return placed


def _log_softmax(passed: Passed) -> Float[Tensor, "prediction d_vocab"]:
    assert passed.logits is not None  # they were asked for
    return passed.logits.float().log_softmax(-1)


def _share(part: float, whole: float) -> float:
    return part / whole if whole != 0 else float("nan")
