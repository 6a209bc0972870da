"""The second half of building a store: the numbers and examples of some latents, from the chunks that were read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from saekit.dictionaries import Dictionary
from saekit.features import schema
from saekit.features.building import near_misses
from saekit.features.building.choosing import Chosen, choose, hashed, in_windows
from saekit.features.building.chunks import Readings
from saekit.features.building.concepts import Concepts
from saekit.features.building.neighbours import Neighbours
from saekit.features.building.output_path import Outputs
from saekit.features.building.settings import Settings
from saekit.features.building.statistics import Firings, numbers
from saekit.features.building.tables import table
from saekit.features.loss_effects import effects_of, mean_effects
from saekit.features.schema import LOGIT_BINS, WINDOW
from saekit.features.words import AROUND, commonest, word_at
from saekit.features.written import Written
from saekit.models import SeveralModels

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LOGITS = 10
PEAKS = 5  # tokens and words
DIRECTIONS_AT_ONCE = 2**24  # logits


@dataclass(frozen=True)
class Workbench:
    """What every part needs; what is None is left out."""

    model: TransformerBridge | SeveralModels | None  # None over arrays, where there is no output either
    dictionary: Dictionary
    readings: Readings
    counted: int
    settings: Settings
    loss_examples: int  # 0 where loss effects cannot be measured
    neighbours: Neighbours | None
    concepts: Concepts | None
    concept_names: list[str]
    written: Written  # where the logits and loss effects of a latent are
    output: Outputs | None
    vocabulary: Sequence[bytes]  # of each token id

    def part(self, first: int, last: int, told: Callable[[int], object]) -> dict[str, pa.Table]:
        """The tables of latents first … last − 1; `told` hears of examples whose loss effect was measured."""
        r = self.readings
        latent, place, value = r.firings(first, last)
        f = Firings.of(last - first, latent - first, place, value)
        has_near = "near_value" in r.chunks[0]
        misses = (
            near_misses.merged(r.chunks, r.bases[:-1], first, last) if has_near else (latent[:0], place[:0], value[:0])
        )
        chosen = choose(f, r, (misses[0] - first, *misses[1:]), self.settings, first)
        row_first, row_last = r.take("row_first", chosen.place), r.take("row_last", chosen.place)
        begin, end = (
            np.maximum(chosen.place - WINDOW["before"], row_first),
            np.minimum(chosen.place + WINDOW["after"], row_last),
        )
        shown = in_windows(f, chosen.latent, begin, end)
        effects = self._loss_effects(f, chosen, end, first, told)
        columns = self._numbers(f) | self._neighbours(first, last) | self._concepts(f)
        logit_columns, logit_effect = self._logits(f, shown, first)
        columns |= logit_columns | self._peaks(f, chosen) | self._mean_effects(f, chosen, effects)
        columns["latent"] = np.arange(first, last)
        most = self.settings.most_firings
        kept = shown | (f.counts[f.latent] <= most)
        if (
            not self.settings.effects_now
        ):  # what measuring them later needs: all firings of these rows, from their beginning
            some = self._measured(chosen)
            kept |= in_windows(f, chosen.latent[some], row_first[some], end[some])
        if not kept.all():
            share = most / f.counts[f.latent]
            kept |= hashed(self.settings.seed * 4 + 2, (f.latent + first).astype(np.uint64), f.place) < share
        activations = {
            "latent": f.latent[kept] + first,
            "place": f.place[kept],
            "value": f.value[kept],
            "logit_effect": _or_null(logit_effect[kept]),
            "loss_effect": _or_null(effects[kept]),
        }
        examples = {
            "latent": chosen.latent + first,
            "kind": pa.array(schema.KINDS).take(pa.array(chosen.kind)),
            "band": chosen.band,
            "rank": chosen.rank,
            "place": chosen.place,
            "value": chosen.value,
            "copies": chosen.copies,
        }
        tables = {"latents": columns, "activations": activations, "examples": examples}
        return {name: table(name, values) for name, values in tables.items()}

    def _numbers(self, f: Firings) -> dict[str, Any]:
        found = vars(numbers(f)) | {"density": f.counts / self.counted}
        for name in ("mean", "std", "skewness", "kurtosis"):
            found[name] = _or_null(found[name])
        for name in ("histogram", "intervals"):
            found[name] = _lists([row if n else None for row, n in zip(found[name], f.counts, strict=True)])
        quantiles = [row if n else None for row, n in zip(found["quantiles"], f.counts, strict=True)]
        return found | {"quantiles": _lists(quantiles)}

    def _neighbours(self, first: int, last: int) -> dict[str, Any]:
        if self.neighbours is None:
            return {}
        index, cosine, phi = self.neighbours.of(first, last)
        return {"neighbours": _lists(index), "cosine": _lists(cosine), "phi": _lists([_or_null(row) for row in phi])}

    def _concepts(self, f: Firings) -> dict[str, Any]:
        if self.concepts is None:
            return {}
        m = self.concepts.match(f)
        real = [row >= 0 for row in m.concept]
        names = np.array([*self.concept_names, ""], dtype=object)
        columns = {"concept": names[m.concept], "concept_f1": m.f1, "concept_precision": m.precision}
        columns |= {"concept_recall": m.recall, "concept_threshold": m.threshold, "concept_share": m.share}
        return {n: _lists([row[k] for row, k in zip(v, real, strict=True)]) for n, v in columns.items()}

    def _peaks(self, f: Firings, chosen: Chosen) -> dict[str, Any]:
        """The commonest tokens and words at the peaks of the top examples, the stronger first where equally common."""
        top = chosen.kind == schema.KINDS.index("top")
        token = self.readings.take("token", chosen.place[top])
        words = self._words(chosen.place[top])
        bounds = np.searchsorted(chosen.latent[top], np.arange(f.latents + 1))
        found: dict[str, list[Any]] = {"peak_tokens": [], "peak_words": []}
        for begin, end in itertools.pairwise(bounds):
            some, index, counts = np.unique(token[begin:end], return_index=True, return_counts=True)
            found["peak_tokens"].append(some[np.lexsort((index, -counts))][:PEAKS].tolist())
            found["peak_words"].append(commonest(words[begin:end], PEAKS))
        return found

    def _words(self, places: np.ndarray) -> list[str]:
        """The word at each place, within its row; the rows of an array are no text."""
        reach = AROUND if self.model is not None else 0
        first = np.maximum(self.readings.take("row_first", places), places - reach)
        last = np.minimum(self.readings.take("row_last", places), places + reach)
        lengths = last - first + 1
        starts = np.cumsum(lengths) - lengths
        around = np.arange(lengths.sum()) + np.repeat(first - starts, lengths)
        parts = [self.vocabulary[token] for token in self.readings.take("token", around).tolist()]
        spans = zip(starts.tolist(), lengths.tolist(), (places - first).tolist(), strict=True)
        return [word_at(parts[start : start + length], peak) for start, length, peak in spans]

    def _logits(self, f: Firings, shown: np.ndarray, first: int) -> tuple[dict[str, Any], np.ndarray]:
        """The columns of the logits, and the effect of each shown firing on the token that follows it."""
        effect = np.full(len(f.place), np.nan, np.float32)
        directions = self.dictionary.decoder_rows(slice(first, first + f.latents)).detach().float().cpu()
        columns: dict[str, Any] = {"decoder_norm": directions.norm(dim=1).numpy()}
        if self.output is None:
            return columns, effect
        strongest = f.by_strength[np.maximum(f.starts[1:] - 1, 0)] if len(f.by_strength) else np.zeros(f.latents, int)
        peak = np.where(f.counts > 0, f.value[strongest] if len(f.value) else 0, 1).astype(np.float32)
        follows = shown & (f.place < self.readings.take("row_last", f.place))
        parts: list[dict[str, np.ndarray]] = []
        step = max(1, DIRECTIONS_AT_ONCE // self.output.d_vocab)
        for start in range(0, f.latents, step):
            stop = min(start + step, f.latents)
            logits = self.output(first + start, first + stop).numpy()
            here = np.flatnonzero(follows & (f.latent >= start) & (f.latent < stop))
            following = self.readings.take("token", f.place[here] + 1)
            effect[here] = f.value[here] * logits[f.latent[here] - start, following]
            parts.append(_extremes(logits * peak[start:stop, None]))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return columns | {n: v if v.ndim == 1 else _lists(v) for n, v in joined.items()}, effect

    def _loss_effects(
        self, f: Firings, chosen: Chosen, end: np.ndarray, first: int, told: Callable[[int], object]
    ) -> np.ndarray:
        some = self._measured(chosen)
        if self.model is None or not self.settings.effects_now or not some.any():
            return np.full(len(f.place), np.nan, np.float32)
        latents = range(first, first + f.latents)
        where = (chosen.latent[some], chosen.place[some], end[some])
        return effects_of(self.model, self.written, latents, self.readings, f, *where, told)

    def _measured(self, chosen: Chosen) -> np.ndarray:
        """The examples whose loss effect is measured."""
        kinds = [schema.KINDS.index(kind) for kind in schema.MEASURED]
        return np.isin(chosen.kind, kinds) & (chosen.rank < self.loss_examples)

    def _mean_effects(self, f: Firings, chosen: Chosen, effects: np.ndarray) -> dict[str, Any]:
        random = (chosen.kind == schema.KINDS.index("random")) & (chosen.rank < self.loss_examples)
        where = chosen.latent[random], chosen.place[random]
        mean, counts = mean_effects(self.readings, f, effects, *where, f.latents)
        return {"loss_effect": _or_null(mean), "loss_tokens": counts}


def _extremes(effect: np.ndarray) -> dict[str, np.ndarray]:
    """Of the logit effects [latent, vocabulary]: the largest and the least, and the histogram over the vocabulary."""
    count = min(LOGITS, effect.shape[1])
    columns: dict[str, np.ndarray] = {}
    whole = torch.from_numpy(effect)
    for side, largest in (("top", True), ("bottom", False)):
        values, tokens = whole.topk(count, largest=largest)
        columns |= {f"{side}_tokens": tokens.numpy(), f"{side}_logits": values.numpy()}
    low, high = effect.min(1), effect.max(1)
    width = np.where(high > low, high - low, 1.0).astype(np.float64)
    index = ((effect - low[:, None]) / width[:, None] * LOGIT_BINS).astype(np.int64)
    cells = np.arange(len(effect))[:, None] * LOGIT_BINS + np.minimum(index, LOGIT_BINS - 1)
    counts = np.bincount(cells.reshape(-1), minlength=len(effect) * LOGIT_BINS).reshape(-1, LOGIT_BINS)
    return columns | {"logit_low": low, "logit_high": high, "logit_histogram": counts}


def _lists(rows: Any) -> list[Any]:
    """Rows as Arrow takes lists of them."""
    return list(rows)


def _or_null(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=~np.isfinite(values))
