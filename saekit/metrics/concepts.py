"""Concept match: which latent is the detector of which labelled concept, at token level.

Positive: a token inside a span of the concept. Predicted: z > t. Latent and t (tenths of the latent's maximum there, 0
to 0.9) are chosen on one half of the documents; precision, recall and F1 are given on the other. Concepts with fewer
than 50 positive tokens are left out. Beside it the F1 of the best single token id, chosen the same way: a concept that
is one token is no feat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.activations import Activations, concept_masks, harvest
from saekit.corpora import Corpus, Document
from saekit.dictionaries import Dictionary, check_model

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

DEFINITION = (__doc__ or "").split("\n\n", 1)[-1].strip()
LEVELS = 10
MINIMUM = 50
AT_ONCE = 2**16


@dataclass(frozen=True)
class ConceptMatch:
    """A row a concept: latent, threshold, precision, recall, f1, token_f1 (best token), positives; best first."""

    rows: list[dict[str, Any]]
    definition: str = DEFINITION

    def frame(self) -> pandas.DataFrame:
        import pandas

        columns = ["concept", "latent", "threshold", "precision", "recall", "f1", "token_f1", "positives"]
        return pandas.DataFrame(self.rows, columns=columns)

    @property
    def best(self) -> dict[str, Any]:
        if not self.rows:
            raise ValueError(f"no concept had {MINIMUM} positive tokens.")
        return self.rows[0]

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self.rows, caption=self.definition)


@torch.no_grad()
def concept_match(
    codes: SparseCodes,
    labels: Mapping[str, Bool[Tensor, " n"]],
    documents: Int[Tensor, " n"],
    tokens: Int[Tensor, " n"] | None = None,
) -> ConceptMatch:
    """Match latents to concepts over n tokens; ``documents`` is the document of each token (even ones choose)."""
    names = [name for name, label in labels.items() if int(label.sum()) >= MINIMUM]
    if not names:
        return ConceptMatch([])
    codes = codes.to("cpu", torch.float64)
    positive = torch.stack([labels[name] for name in names], dim=1).float()
    choosing, rows = documents % 2 == 0, codes.rows
    maximum = _maximum(codes, choosing[rows])
    level = torch.full_like(rows, -1)  # the highest step with z > maximum · step / LEVELS; -1 where z ≤ 0
    for step in range(LEVELS):
        level += codes.values > (maximum * step / LEVELS)[codes.indices.long()]
    by_half = []
    for half in (choosing, ~choosing):
        kept = (level >= 0) & half[rows]
        by_half.append(_counts(codes.indices[kept].long(), level[kept], rows[kept], positive, codes.d_sae))
    totals = [positive[half].sum(0) for half in (choosing, ~choosing)]
    chosen = _scores(*by_half[0], totals[0])[2].flatten(0, 1).argmax(0)  # [C], an index of (latent, level)
    precision, recall, f1 = (s.flatten(0, 1).gather(0, chosen[None])[0] for s in _scores(*by_half[1], totals[1]))
    token_f1 = _token_f1(tokens, positive, choosing) if tokens is not None else [float("nan")] * len(names)
    found = []
    for c, name in enumerate(names):
        latent, step = divmod(int(chosen[c]), LEVELS)
        found.append(
            {
                "concept": name,
                "latent": latent,
                "threshold": float(maximum[latent] * step / LEVELS),
                "precision": round(float(precision[c]), 4),
                "recall": round(float(recall[c]), 4),
                "f1": round(float(f1[c]), 4),
                "token_f1": round(token_f1[c], 4),
                "positives": int(positive[:, c].sum()),
            }
        )
    return ConceptMatch(sorted(found, key=lambda row: -row["f1"]))


def match_concepts(
    model: TransformerBridge, dictionary: Dictionary, corpus: Corpus, tokens: int | None = None
) -> ConceptMatch:
    """Concept match of a dictionary on a labelled corpus; give ``tokens`` for an endless one."""
    check_model(dictionary, model)
    acts = harvest(model, corpus, dictionary.reads, tokens=tokens)
    return match_codes(encode(dictionary, acts), acts, corpus)


def match_codes(codes: SparseCodes, acts: Activations, corpus: Corpus | Sequence[Document]) -> ConceptMatch:
    """Concept match of the codes of a corpus's counted tokens; every second document of a kind chooses."""
    last = int(acts.rows.documents.max()) if len(acts.rows) else -1
    documents = [document for document, _ in zip(corpus, range(last + 1), strict=False)]
    labels = {concept: mask[acts.mask] for concept, mask in concept_masks(acts.rows, documents).items()}
    numbers = torch.tensor(_numbers_in_kind(documents))[acts.rows.documents]
    where = numbers[:, None].expand_as(acts.mask)[acts.mask]
    return concept_match(codes, labels, where, acts.tokens[acts.mask])


@torch.no_grad()
def encode(dictionary: Dictionary, acts: Activations) -> SparseCodes:
    """Codes of the counted tokens, a few thousand at a time: [token, d_sae] before the selection is large."""
    flat, parts = {site: acts.flat(site) for site in dictionary.reads}, []
    for start in range(0, int(acts.mask.sum()), 4096):
        part = {site: h[start : start + 4096].to(dictionary.latent_max) for site, h in flat.items()}
        parts.append(dictionary.encode(part).to("cpu"))
    return SparseCodes.cat(parts)


def _numbers_in_kind(documents: Sequence[Document]) -> list[int]:
    """The number of each document among those of its kind: kinds may take turns, and each must lie in both halves."""
    seen: Counter[str] = Counter()
    numbers = []
    for document in documents:
        numbers.append(seen[document.kind])
        seen[document.kind] += 1
    return numbers


def _maximum(codes: SparseCodes, kept: Tensor) -> Tensor:
    zeros = codes.values.new_zeros(codes.d_sae)
    return zeros.scatter_reduce_(0, codes.indices[kept].long(), codes.values[kept], "amax")


def _counts(index: Tensor, level: Tensor, rows: Tensor, positive: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Hits [size, level, concept] and firings [size, level, 1] at or above each level."""
    cell = index * LEVELS + level
    hits = positive.new_zeros(size * LEVELS, positive.shape[1])
    for some, where in zip(cell.split(AT_ONCE), rows.split(AT_ONCE), strict=True):  # [entries, concept] is large
        hits.index_add_(0, some, positive[where])
    fired = torch.bincount(cell, minlength=size * LEVELS).float().view(size, LEVELS, 1)
    hits = hits.view(size, LEVELS, -1)
    return hits.flip(1).cumsum(1).flip(1), fired.flip(1).cumsum(1).flip(1)


def _scores(hits: Tensor, fired: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    precision = hits / fired.clamp_min(1)
    recall = hits / total.clamp_min(1)
    return precision, recall, 2 * hits / (fired + total).clamp_min(1)


def _token_f1(tokens: Tensor, positive: Tensor, choosing: Tensor) -> list[float]:
    size = int(tokens.max()) + 1
    scores = []
    for half in (choosing, ~choosing):
        hits = positive.new_zeros(size, positive.shape[1]).index_add_(0, tokens[half], positive[half])
        fired = torch.bincount(tokens[half], minlength=size).float()[:, None]
        scores.append(2 * hits / (fired + positive[half].sum(0)).clamp_min(1))
    best = scores[0].argmax(0)
    return [float(scores[1][token, c]) for c, token in enumerate(best.tolist())]
