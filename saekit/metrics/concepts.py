"""Concept match: which latent is the detector of which labelled concept, at token level.

Positive: a token inside a span of the concept. Predicted: z > t. Latent and t (tenths of the latent's maximum there, 0
to 0.9) are chosen on one half of the documents; precision, recall and F1 are given on the other. Concepts with fewer
than 50 positive tokens are left out. Beside it the F1 of the best single token id, chosen the same way: a concept that
is one token is no feat, and never the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import Coded
from saekit.metrics.labelled import LEVELS, MINIMUM, Labelled
from saekit.metrics.metric import Metric, Number
from saekit.metrics.running import run
from saekit.metrics.spilled import Spilled

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

DEFINITION = (__doc__ or "").split("\n\n", 1)[-1].strip()
CELLS_AT_ONCE = 2**20  # halves × latents × levels × concepts


@dataclass(frozen=True, repr=False)
class ConceptMatch:
    """A row a concept: latent, threshold, precision, recall, f1, token_f1 (best token), positives; the highest F1
    first.

    rows: of concepts with enough tokens. definition: what the numbers are."""

    rows: list[dict[str, Any]]
    definition: str = DEFINITION

    def frame(self) -> pandas.DataFrame:
        """The rows as a frame."""
        import pandas

        columns = ["concept", "latent", "threshold", "precision", "recall", "f1", "token_f1", "positives"]
        return pandas.DataFrame(self.rows, columns=columns)

    @property
    def best(self) -> dict[str, Any] | None:
        """The row with the highest F1 of those where no single token does as well; None where there is none."""
        return next((row for row in self.rows if row["f1"] > 0 and not row["token_f1"] >= row["f1"]), None)

    @property
    def numbers(self) -> list[Number]:
        """F1 of the best concept; NaN with the reason where there is none."""
        if best := self.best:
            definition = f"F1 of latent {best['latent']} on held-back documents; the best token alone: "
            return [Number(f"best concept, {best['concept']}", best["f1"], definition + f"{best['token_f1']:.2f}")]
        why = f"none of {len(self.rows)} concepts is found better by a latent than by the best token alone"
        return [Number("best concept", float("nan"), why if self.rows else f"no concept had {MINIMUM} positive tokens")]

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self.rows, more=".frame()") or f"no concept had {MINIMUM} positive tokens"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self.rows, caption=self.definition)


class Concepts(Metric):
    """Keeps what fires in a temporary file and the labels in memory (some bytes a token), and matches at the end."""

    names: Sequence[str] = ()
    firings: Spilled | None = None

    def begin(self, model: TransformerBridge, dictionary: Dictionary, concepts: Sequence[str]) -> None:
        """Nothing is kept where there are no labels."""
        self.start(dictionary.d_sae, concepts)

    def start(self, latents: int, concepts: Sequence[str]) -> None:
        """Begin anew, with so many latents and concepts of these names."""
        self.close()
        self.names, self.counted = list(concepts), 0
        self.firings = Spilled(latents) if self.names else None
        self.columns: dict[str, list[np.ndarray]] = {
            name: [] for name in ("chooses", "label_place", "label_concept", "tokens")
        }

    def update(self, batch: Coded) -> None:
        """The next tokens, where they have labels."""
        if self.firings is not None:
            beside = batch.beside
            self.add(batch.codes, beside["labels"], beside["chooses"], beside["tokens"])

    def add(
        self,
        codes: SparseCodes,
        labels: Bool[Tensor, "n concepts"],
        chooses: Bool[Tensor, " n"],
        tokens: Int[Tensor, " n"] | None,
    ) -> None:
        """n more tokens: their codes, labels, whether their documents are in the half that chooses, and ids."""
        assert self.firings is not None  # there are concepts
        fires = codes.values.detach() > 0
        latent, row, value = codes.indices[fires], codes.rows[fires], codes.values.detach()[fires]
        self.firings.add(latent.cpu().numpy(), row.cpu().numpy() + self.counted, value.float().cpu().numpy())
        place, concept = labels.cpu().nonzero(as_tuple=True)
        self.columns["label_place"].append((place + self.counted).int().numpy())
        self.columns["label_concept"].append(concept.short().numpy())
        self.columns["chooses"].append(chooses.cpu().numpy())
        if tokens is not None:
            self.columns["tokens"].append(tokens.int().cpu().numpy())
        self.counted += len(chooses)

    def result(self) -> ConceptMatch | None:
        """None where the corpus has no labels."""
        if self.firings is None:
            return None
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items() if parts}
        labelled = Labelled([columns], len(self.names))
        if not len(labelled.kept):
            return ConceptMatch([])
        best = _best(self.firings, labelled)
        tokens = columns.get("tokens")
        token_f1 = [float("nan")] * len(best) if tokens is None else _token_f1(tokens, columns, labelled)
        found = []
        for c, row, of_token in zip(labelled.kept, best, token_f1, strict=True):
            positives = int(labelled.totals[:, c].sum())
            found.append(
                {"concept": self.names[int(c)]} | row | {"token_f1": round(of_token, 4), "positives": positives}
            )
        return ConceptMatch(sorted(found, key=lambda row: -row["f1"]))

    def close(self) -> None:
        """The temporary file is gone."""
        if self.firings is not None:
            self.firings.close()
            self.firings = None


@torch.no_grad()
def concept_match(
    codes: SparseCodes,
    labels: Mapping[str, Bool[Tensor, " n"]],
    documents: Int[Tensor, " n"],
    tokens: Int[Tensor, " n"] | None = None,
) -> ConceptMatch:
    """Match latents to concepts over n tokens; ``documents`` is the document of each token (even ones choose).

    codes: z of the tokens. labels: of each concept, True at its tokens."""
    if not labels:
        return ConceptMatch([])
    metric = Concepts()
    try:
        metric.start(codes.d_sae, list(labels))
        metric.add(codes, torch.stack([labels[name] for name in labels], 1), documents % 2 == 0, tokens)
        return metric.result() or ConceptMatch([])
    finally:
        metric.close()


def match_concepts(
    model: TransformerBridge, dictionary: Dictionary, corpus: Corpus, tokens: int | None = None
) -> ConceptMatch:
    """Concept match of a dictionary of this model on a labelled corpus; give ``tokens`` for an endless one."""
    _, (found,) = run(model, dictionary, corpus, tokens, [Concepts()])
    return found if isinstance(found, ConceptMatch) else ConceptMatch([])


def _best(firings: Spilled, labelled: Labelled) -> list[dict[str, Any]]:
    """For each concept kept: the latent and threshold with the highest F1 in the choosing half, the first of equals,
    and their numbers in the judging half."""
    each = np.arange(len(labelled.kept))
    highest = np.full(len(each), -1.0)
    found: list[dict[str, Any]] = [{} for _ in each]
    for first, last, latent, place, value in firings.parts(max(1, CELLS_AT_ONCE // (2 * LEVELS * len(each)))):
        scores = labelled.scores(last - first, latent - first, place, value)
        flat = scores.choosing.reshape(-1, len(each))
        at = flat.argmax(0)
        better = flat[at, each] > highest
        highest = np.maximum(highest, flat[at, each])
        for c in each[better]:
            i, level = divmod(int(at[c]), LEVELS)
            found[c] = {
                "latent": first + i,
                "threshold": float(scores.largest[i] * level / LEVELS),
                "precision": round(float(scores.precision[i, level, c]), 4),
                "recall": round(float(scores.recall[i, level, c]), 4),
                "f1": round(float(scores.f1[i, level, c]), 4),
            }
    return found


def _token_f1(tokens: Int[np.ndarray, " n"], columns: Mapping[str, np.ndarray], labelled: Labelled) -> list[float]:
    """F1 in the judging half of the token that is best in the choosing half, for each concept kept."""
    seen = np.union1d(tokens, [0])  # token 0 is chosen where no token has a score
    index, chooses = np.searchsorted(seen, tokens), columns["chooses"]
    fired = [np.bincount(index[chooses == half], minlength=len(seen)) for half in (False, True)]
    found = []
    for c in labelled.kept:
        places = columns["label_place"][columns["label_concept"] == c]
        f1: list[Float[np.ndarray, " seen"]] = []
        for half in (0, 1):
            hits = np.bincount(index[places[chooses[places] == half]], minlength=len(seen))
            f1.append(2 * hits / np.maximum(fired[half] + labelled.totals[half, c], 1))
        found.append(float(f1[0][f1[1].argmax()]))
    return found
