"""special_token_errors: how well a dictionary reconstructs the special tokens of a chat template, each by itself.

    error(t) = mean of ‖x − x̂‖² / ‖x‖² over the counted tokens with id t

A few ids of a template make many of a chat's tokens and lie far from all others, so that an error over all tokens says
little of them. Training on chats one a row, as saekit reads every corpus, was found to lower it against rows packed
with several of them (FAST: Li et al. 2025, arXiv 2506.07691).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from saekit.activations.source import Readable
from saekit.activations.tokens import special_ids
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import Coded
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.roles import CORPUS, DICTIONARY, MODEL, RUN, check_roles
from saekit.metrics.metric import Metric, Number
from saekit.metrics.running import run

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

DEFINITION = "mean of ‖x − x̂‖² / ‖x‖² over the counted tokens of an id"
OTHERS = "all others"


@dataclass(frozen=True, repr=False)
class SpecialTokenErrors:
    """Reconstruction of each special token that was met, in the order of their ids, and of all other tokens together.

    rows: token, id, tokens (how many were counted), error. definition: what an error is."""

    rows: list[dict[str, Any]]
    definition: str = DEFINITION

    @property
    def numbers(self) -> list[Number]:
        """The error of each special token."""
        return [
            Number(f"error at {row['token']}", row["error"], f"{DEFINITION}, {row['tokens']:,} of them")
            for row in self.rows
            if row["id"] is not None
        ]

    def frame(self) -> pandas.DataFrame:
        """The rows as a frame."""
        import pandas

        return pandas.DataFrame(self.rows, columns=["token", "id", "tokens", "error"])

    @property
    def chart(self) -> Any:
        """A bar a token, as an Altair chart."""
        from saekit.plots import bars

        return bars(self.frame(), "token", "error", title="Error at special tokens", subtitle=self.definition)

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self.rows, more=".frame()")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table
        from saekit.plots.renderer import svg

        return svg(self.chart.to_dict()) + html_table(self.rows, caption=self.definition)


class SpecialTokens(Metric):
    """Sums of errors by token id: ``sk.evaluate(model, sae, chats, metrics=[sk.metrics.SpecialTokens])``."""

    def begin(self, model: TransformerBridge | None, dictionary: Dictionary, concepts: Sequence[str]) -> None:
        """Raises ValueError where there is no model, whose tokenizer says which tokens are special."""
        if model is None:
            raise ValueError("special tokens are of a model's tokenizer: sk.evaluate(model, sae, corpus).")
        ids = special_ids(model.tokenizer)
        self.names = [*model.tokenizer.convert_ids_to_tokens(ids), OTHERS]
        self.ids = torch.tensor(ids, dtype=torch.long)
        self.tokens = torch.zeros(len(ids) + 1, dtype=torch.long)
        self.error = torch.zeros(len(ids) + 1, dtype=torch.float64)

    def update(self, batch: Coded) -> None:
        """Each token's error to the sum of its id, or of all others."""
        lost = (batch.target - batch.x_hat).square().sum(1)
        share = lost / batch.target.square().sum(1).clamp_min(torch.finfo(lost.dtype).tiny)
        is_id = batch.beside["tokens"].cpu()[:, None] == self.ids
        place = torch.cat([is_id, ~is_id.any(1, keepdim=True)], 1).long().argmax(1)
        self.tokens += torch.bincount(place, minlength=len(self.tokens))
        self.error.index_add_(0, place, share.cpu().double())

    def result(self) -> SpecialTokenErrors:
        """A row for each id that was counted."""
        ids = [*self.ids.tolist(), None]
        rows = [
            {"token": name, "id": number, "tokens": count, "error": error / count}
            for name, number, count, error in zip(
                self.names, ids, self.tokens.tolist(), self.error.tolist(), strict=True
            )
            if count
        ]
        return SpecialTokenErrors(rows)


def special_token_errors(
    model: TransformerBridge, dictionary: Dictionary | Any, corpus: Readable, tokens: int | None = None
) -> SpecialTokenErrors:
    """How well a dictionary reconstructs each special token of a corpus.

    model:      what the dictionary was made on. dictionary: or the run that trained it.
    corpus:     what ``load_corpus`` gives, chats (lists of turns, written by the model's template), or token ids. BOS
                at the start of a row is not counted.
    tokens:     counted ones that are read; needed for an endless corpus.
    Returns ``SpecialTokenErrors``: ``.frame()``, drawn. For example ``sk.metrics.special_token_errors(model, sae,
    sk.load_corpus("microworld", split="heldout", kinds="requests"))``.
    Raises ValueError for a dictionary of another model, and for an endless corpus without ``tokens``.
    """
    call = "sk.metrics.special_token_errors(model, dictionary, corpus)"
    check_roles(call, model=(model, MODEL), dictionary=(dictionary, (DICTIONARY, RUN)), corpus=(corpus, CORPUS))
    metric = SpecialTokens()
    run(model, dictionary_of(dictionary), corpus, tokens, [metric])
    return metric.result()
