"""CE and KL recovered: how much of what a site does for the next token survives the reconstruction.

CE recovered = (CE_ablated − CE_spliced) / (CE_ablated − CE_clean); KL recovered = 1 − KL(clean ‖ spliced) / KL(clean ‖
ablated). Spliced: x̂ in the place of the activation; ablated: zero in its place, or the mean over these tokens. Tokens
that are not counted (BOS, padding) keep their own activation in every run. Averages run over the predictions made at
counted tokens of the token that follows, where one does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit.activations import TokenRows
from saekit.dictionaries import Dictionary
from saekit.files.choices import checked
from saekit.interventions.standing import Standing
from saekit.models import ROWS_AT_ONCE, Change, Passed, check_edit_site, forward, joined, put

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ABLATIONS = ("zero", "mean")


@dataclass(frozen=True)
class Recovered:
    """Mean over ``tokens`` predictions, in nats: cross-entropy of the next token, and KL from the clean prediction."""

    ce_clean: float
    ce_spliced: float
    ce_ablated: float
    kl_spliced: float
    kl_ablated: float
    tokens: int
    ablation: str

    @property
    def ce_recovered(self) -> float:
        """1 where splicing costs nothing, 0 where it is as bad as ablation; NaN where ablation costs nothing."""
        return _share(self.ce_ablated - self.ce_spliced, self.ce_ablated - self.ce_clean)

    @property
    def kl_recovered(self) -> float:
        return _share(self.kl_ablated - self.kl_spliced, self.kl_ablated)

    @property
    def definition(self) -> str:
        return (
            f"(ablated − spliced) / (ablated − clean), {self.ablation} ablation at counted tokens, {self.tokens:,} "
            "predictions made there"
        )


@torch.no_grad()
def recovered(
    model: TransformerBridge, dictionary: Dictionary, rows: TokenRows, tokens: int | None = None, ablation: str = "zero"
) -> Recovered:
    """Run the model clean, spliced and ablated over rows of tokens, the first ones that make ``tokens`` predictions.

    Raises ValueError for an unknown ablation, a site where the model cannot be spliced, and rows without a prediction.
    """
    checked("ablation", ablation, ABLATIONS)
    for site in dictionary.writes:
        check_edit_site(model, site)
    predicts = rows.predicts
    if tokens is not None:
        enough = int((predicts.sum(1).cumsum(0) < tokens).sum()) + 1
        rows_used = min(enough, len(predicts))
    else:
        rows_used = len(predicts)
    if not predicts[:rows_used].any():
        raise ValueError("no counted token is followed by another: there is no prediction to judge.")
    mean = _means(model, dictionary, rows, rows_used) if ablation == "mean" else {}
    sums = torch.zeros(5, dtype=torch.float64)
    for start in range(0, rows_used, ROWS_AT_ONCE):
        part = slice(start, min(start + ROWS_AT_ONCE, rows_used))
        sums += _sums(model, dictionary, rows.tokens[part], rows.mask[part], predicts[part], mean)
    total = int(predicts[:rows_used].sum())
    ce_clean, ce_spliced, ce_ablated, kl_spliced, kl_ablated = (sums / total).tolist()
    return Recovered(ce_clean, ce_spliced, ce_ablated, kl_spliced, kl_ablated, total, ablation)


def _means(model: TransformerBridge, dictionary: Dictionary, rows: TokenRows, used: int) -> dict[str, Tensor]:
    totals: dict[str, Tensor] = {}
    for start in range(0, used, ROWS_AT_ONCE):
        part = slice(start, min(start + ROWS_AT_ONCE, used))
        for site, h in forward(model, rows.tokens[part], dictionary.writes).kept.items():
            total = joined(h, site).cpu()[rows.mask[part]].double().sum(0)
            totals[site] = totals[site] + total if site in totals else total
    return {site: total / int(rows.mask[:used].sum()) for site, total in totals.items()}


def _sums(
    model: TransformerBridge,
    dictionary: Dictionary,
    tokens: Int[Tensor, "row position"],
    mask: Bool[Tensor, "row position"],
    predicts: Bool[Tensor, "row position"],
    mean: dict[str, Tensor],
) -> Float[Tensor, " 5"]:
    """Summed over the predictions of these rows: CE clean, spliced, ablated, KL spliced, ablated."""
    standing = Standing(dictionary)
    clean = forward(model, tokens, [*standing.reads, *standing.writes], logits=predicts)
    x = {site: joined(clean.kept[site], site) for site in standing.reads}
    codes = standing.encode(x)
    x_hat = {site: standing.decode(codes, x, site) for site in standing.writes}
    ablated = {site: mean.get(site, torch.zeros(())) for site in standing.writes}
    passes = [clean]
    for values in (x_hat, ablated):
        replace: dict[str, Tensor | Change] = {}
        for site, value in values.items():
            change = put(value, mask)
            # Of a single site it is known what arrives, so that what comes before need not be run.
            replace[site] = change(clean.kept[site], clean.kept) if len(values) == 1 else change
        passes.append(forward(model, tokens, replace=replace, logits=predicts))
    log_p, log_q, log_r = (_log_softmax(passed) for passed in passes)
    target = tokens.roll(-1, 1)[predicts].to(log_p.device)[:, None]
    p = log_p.exp()
    numbers = [-each.gather(1, target).cpu().double().sum() for each in (log_p, log_q, log_r)]
    numbers += [(p * (log_p - each)).sum(1).cpu().double().sum() for each in (log_q, log_r)]
    return torch.stack(numbers)


def _log_softmax(passed: Passed) -> Float[Tensor, "prediction d_vocab"]:
    assert passed.logits is not None  # they were asked for
    return passed.logits.float().log_softmax(-1)


def _share(part: float, whole: float) -> float:
    return part / whole if whole != 0 else float("nan")
