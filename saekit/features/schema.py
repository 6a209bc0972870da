"""The tables of a feature store, their columns and what these mean; version 3.

A folder of Parquet files in parts, with manifest.json, the dictionary it was made from and labels.sqlite:

  latents/part-*.parquet      a row a latent
  examples/part-*.parquet     a row an example: which token of the corpus shows what of a latent
  activations/part-*.parquet  a row a firing, sorted by latent; all of them, or a sample of those of very active latents
  tokens/part-*.parquet       a row a token, in the order they were read; padding is left out, BOS is not
  concepts/part-*.parquet     a row a labelled token and concept (only of a labelled corpus)
  documents/part-*.parquet    a row a document
  heads/part-*.parquet        a row a latent, and
  sources/part-*.parquet      a row a source token and head of a top example (both only of a dictionary at attn.hook_z)
  vocabulary.parquet          the bytes of each token id, so that text can be read without the model

`place` numbers the rows of tokens from 0 and joins them with activations, examples and concepts. All strengths are
|z|, which is z but for signed codes; a firing is a counted token with z ≠ 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

FORMAT, VERSION = "saekit.features", 3
INTERVALS = QUANTILES = 5
KINDS = ("top", "interval", "quantile", "random", "near")
MEASURED = ("top", "random")  # kinds of which the first few examples get loss effects; the mean is of those at random

# How a store is made today. A reader takes what the file itself says: lengths of lists, and the manifest's windows.
BINS, LOGIT_BINS = 40, 60
SAME_BEFORE, SAME_AFTER = 8, 4
"""Two top examples are the same text when these many tokens before and after the peak are equal, the peak too."""
NEAR_TOKENS = 2**16
"""near misses are looked for among about so many counted tokens, the first"""
SOURCES_KEPT = 8
"""of each top example the strongest pairs of head and source token"""
COACTIVE_TOKENS = 2**20
"""φ is measured on about so many counted tokens, the first"""
WINDOW = {"before": 24, "after": 16}
"""Tokens around a peak that are shown, as far as its row goes: `windows` in the manifest; of stores without it, too."""

LATENTS = pa.schema(
    [
        ("latent", pa.int32()),
        ("firings", pa.int64()),  # counted tokens with z ≠ 0
        ("density", pa.float64()),  # firings / counted tokens
        ("max_activation", pa.float32()),  # 0 where it never fires
        ("min_activation", pa.float32()),  # the least z, 0 where none is negative
        ("mean", pa.float64()),  # of the firings; null where there is none, as are the next three
        ("std", pa.float64()),  # population
        ("skewness", pa.float64()),  # null where std is 0
        ("kurtosis", pa.float64()),  # of a normal distribution: 3
        ("histogram", pa.list_(pa.int64())),  # 40 equal bins from min(0, least z) to max(0, largest z)
        ("quantiles", pa.list_(pa.float32())),  # of strengths: 0, 20, 40, 60, 80, 100 %, linear interpolation
        ("intervals", pa.list_(pa.int64())),  # firings in five equal parts of (0, largest strength]
        ("decoder_norm", pa.float32()),
        ("peak_tokens", pa.list_(pa.int32())),  # the commonest at the peaks of the top examples
        ("peak_words", pa.list_(pa.string())),  # the words that these peaks are pieces of; null in older stores
        ("top_tokens", pa.list_(pa.int32())),  # ids with the largest logit effect at the largest strength
        ("top_logits", pa.list_(pa.float32())),
        ("bottom_tokens", pa.list_(pa.int32())),
        ("bottom_logits", pa.list_(pa.float32())),
        ("logit_low", pa.float32()),  # the histogram of the logit effect over the vocabulary: 60 equal bins
        ("logit_high", pa.float32()),
        ("logit_histogram", pa.list_(pa.int32())),
        ("neighbours", pa.list_(pa.int32())),  # the 8 nearest by cosine and the 8 by φ, by cosine
        ("cosine", pa.list_(pa.float32())),  # of decoder rows
        ("phi", pa.list_(pa.float32())),  # correlation of "both fire on this token"; null where either never fires
        ("concept", pa.list_(pa.string())),  # best matches of a labelled corpus
        ("concept_f1", pa.list_(pa.float32())),
        ("concept_precision", pa.list_(pa.float32())),
        ("concept_recall", pa.list_(pa.float32())),
        ("concept_threshold", pa.list_(pa.float32())),
        ("concept_share", pa.list_(pa.float32())),  # of the firings with z > 0, whatever the threshold: inside a span
        ("loss_effect", pa.float32()),  # nats a random firing saves: loss without the latent − loss with it
        ("loss_tokens", pa.int32()),  # firings it is the mean of
    ]
)
EXAMPLES = pa.schema(
    [
        ("latent", pa.int32()),
        ("kind", pa.string()),  # one of KINDS
        ("band", pa.int8()),  # of intervals and quantiles: 0 the weakest; 0 else
        ("rank", pa.int16()),
        ("place", pa.int64()),  # of the peak
        ("value", pa.float32()),  # z; of near misses the distance that near.py defines
        ("copies", pa.int32()),  # examples with the same text that are not shown
    ]
)
ACTIVATIONS = pa.schema(
    [
        ("latent", pa.int32()),
        ("place", pa.int64()),
        ("value", pa.float32()),
        ("logit_effect", pa.float32()),  # on the token that follows; null outside of examples
        ("loss_effect", pa.float32()),  # nats; null where it was not measured
    ]
)
TOKENS = pa.schema(
    [
        ("place", pa.int64()),
        ("token", pa.int32()),
        ("document", pa.int32()),
        ("position", pa.int32()),  # in its document; −1 at BOS
        ("row", pa.int32()),  # of the model's input: a long document takes several
        ("counted", pa.bool_()),
    ]
)
CONCEPTS = pa.schema([("place", pa.int64()), ("concept", pa.string())])
DOCUMENTS = pa.schema([("document", pa.int32()), ("kind", pa.string()), ("tokens", pa.int32())])
HEADS = pa.schema(
    [
        ("latent", pa.int32()),
        ("decoder_share", pa.list_(pa.float32())),  # of each head k: ‖d_i,[k]‖ / Σ_j ‖d_i,[j]‖
        ("activation_share", pa.list_(pa.float32())),  # Σ |u_k| / Σ_j Σ |u_j| over its top examples; null without any
        ("constant", pa.float32()),  # b_i − ⟨c, W_i⟩: with all contributions it is the pre-activation
        ("induction", pa.float32()),  # share of Σ |contribution| from behind an earlier copy of the token
        ("local", pa.float32()),  # from at most five tokens back
        ("family", pa.string()),  # induction, local, long-range, as saekit.metrics.attention says
    ]
)
SOURCES = pa.schema(
    [
        ("latent", pa.int32()),
        ("place", pa.int64()),  # of the peak of a top example
        ("source", pa.int64()),  # the place that it comes from
        ("head", pa.int16()),
        ("contribution", pa.float32()),  # A_k[t, s] · ⟨v_k(s), W_i[k]⟩
    ]
)
VOCABULARY = pa.schema([("token", pa.int32()), ("bytes", pa.binary()), ("special", pa.bool_())])

TABLES = {
    "latents": LATENTS,
    "examples": EXAMPLES,
    "activations": ACTIVATIONS,
    "tokens": TOKENS,
    "concepts": CONCEPTS,
    "documents": DOCUMENTS,
    "heads": HEADS,
    "sources": SOURCES,
    "vocabulary": VOCABULARY,
}
BY_HEADS = ("heads", "sources")
"""Tables of stores whose dictionary reads the heads of an attention layer; in others they have no rows."""


def over_arrays(manifest: Mapping[str, Any]) -> bool:
    """Whether a store is over arrays of one's own: its tokens are their rows, and it has no model."""
    return manifest["provenance"].get("arrays") is not None


def by_heads(manifest: Mapping[str, Any]) -> bool:
    """Whether a store says which heads and source tokens its latents come from."""
    return bool(manifest.get("heads"))


def files_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The files of each table of a finished store: those that its manifest counts, whatever else lies beside them. Of
    a manifest that does not count them: the parts from 0 up to the first number that is missing. None of BY_HEADS where
    a store has no such tables."""
    made = {"tokens": "chunks", "concepts": "chunks", "latents": "parts", "examples": "parts", "activations": "parts"}
    if by_heads(manifest):
        made |= dict.fromkeys(BY_HEADS, "parts")
    counts = {name: len(manifest[made]) for name, made in made.items() if made in manifest} | {"documents": 1}
    files = {"vocabulary": [folder / "vocabulary.parquet"], **{name: [] for name in BY_HEADS}}
    for name in (*made, "documents"):
        numbers = range(counts[name]) if name in counts else itertools.count()
        parts = (part_of(folder, name, number) for number in numbers)
        files[name] = list(parts if name in counts else itertools.takewhile(Path.is_file, parts))
    return files


def part_of(folder: Path, name: str, number: int) -> Path:
    """The file of a part of a table."""
    return folder / name / f"part-{number:04d}.parquet"
