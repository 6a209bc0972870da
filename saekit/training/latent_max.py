"""latent_max of what was trained: where a model was read on the last tokens of training themselves, which are kept, so
that it need not read any once more; of an array or a store on its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from saekit.activations import ActivationStore, StreamState
from saekit.dictionaries import Dictionary
from saekit.engines import processes
from saekit.metrics import largest_codes, measure_latent_max
from saekit.training.sources import Source, Stream

MOST_TOKENS = 100_000
KEPT_BYTES = 2**30
"""of activations that are kept in memory; where they are so wide that MOST_TOKENS need more, fewer are kept."""
SHARE, LEAST_TOKENS = 8, 2**14
"""Of an array or a store: an eighth as many rows as were trained on, since coding a row takes most of a step's time on
it, and at least so many."""
LAST = "the last of training"
"""``provenance.latent_max["which"]`` of a dictionary trained on a model."""


@dataclass
class LastTokens:
    """The activations that the last ``wanted`` rows of a run are trained on, on the CPU.

    first: the step they begin in. begun: where the stream stood before the step ``begun_at``, which is ``first`` or one
    before it: from there they are read again when a run is resumed, so that no checkpoint holds them."""

    wanted: int
    first: int
    begun: StreamState | None = None
    begun_at: int = 0
    batches: list[Mapping[str, Tensor]] = field(default_factory=list)

    @classmethod
    def of(cls, batch_size: int, steps: int, widths: Mapping[str, int], repeats: int) -> LastTokens:
        """widths: of the sites that are read. repeats: rows that a token is, one for each site of ``Wiring.each``."""
        most = KEPT_BYTES // (4 * sum(widths.values()))
        tokens = min(MOST_TOKENS, steps * batch_size, max(batch_size, most))
        return cls(tokens * repeats, steps - -(-tokens // batch_size))

    @classmethod
    def of_run(cls, dictionary: Dictionary, batch_size: int, steps: int) -> LastTokens:
        """Those that a run of this dictionary keeps."""
        widths = dictionary.read_widths
        return cls.of(batch_size, steps, widths, len(widths) if dictionary.wiring.each else 1)

    def begin(self, step: int, state: StreamState) -> None:
        """The stream stands at ``state`` and ``step`` comes next."""
        if step == self.first:
            self.begun, self.begun_at = state, step

    def add(self, step: int, x: Mapping[str, Tensor]) -> None:
        """Keep a step's activations [n, d] by site where they are among the last."""
        if step >= self.first:
            self.batches.append({site: h[-self.wanted :].to("cpu", copy=True) for site, h in x.items()})

    def read(self) -> Iterator[Mapping[str, Tensor]]:
        """The last ``wanted`` rows, batch by batch."""
        surplus = self.rows - self.wanted
        for x in self.batches:
            rows = len(next(iter(x.values())))
            if surplus < rows:
                yield {site: h[max(0, surplus) :] for site, h in x.items()}
            surplus -= rows

    @property
    def rows(self) -> int:
        """That are kept now."""
        return sum(len(next(iter(x.values()))) for x in self.batches)


def measure(dictionary: Dictionary, source: Source, stream: Stream, last: LastTokens | None, tokens: int) -> None:
    """Measure ``dictionary.latent_max``, of a dictionary as it is in the end, and say on what in its provenance: of a
    model the last 100,000 tokens that it was trained on, {"corpus", "tokens", "which"}; of an array an eighth as many
    rows as it was trained on, 16,384 at least and 100,000 at most, evenly from all of them; of a store the first ones.

    source, stream: what was read. last: the tokens that were kept of a model. tokens: that were trained on."""
    if last is None:
        x = _rows(source.model, dictionary, min(MOST_TOKENS, max(LEAST_TOKENS, tokens // SHARE)))
        measure_latent_max(None, dictionary, x, max_norm_multiple=stream.max_norm_multiple)
        return
    taken = [x for number, x in enumerate(last.read()) if number % processes.count() == processes.number()]
    dictionary.latent_max.copy_(processes.largest(largest_codes(dictionary, taken)))
    repeats = len(dictionary.reads) if dictionary.wiring.each else 1
    kept = min(last.wanted, last.rows) // repeats
    where = {"corpus": stream.provenance.get("corpus"), "tokens": kept, "which": LAST}
    dictionary.provenance = replace(dictionary.provenance, latent_max=where)


def _rows(model: Any, dictionary: Dictionary, most: int) -> dict[str, Tensor]:
    """At most so many rows of an array, or several, or of a store."""
    if isinstance(model, ActivationStore):
        parts: list[Mapping[str, Tensor]] = []
        while sum(len(part[dictionary.reads[0]]) for part in parts) < min(most, len(model)):
            parts.append(model.shard(len(parts), dictionary.reads))
        return {site: torch.cat([part[site] for part in parts])[:most].float() for site in dictionary.reads}
    arrays = {site: model[site] if isinstance(model, dict) else model for site in dictionary.reads}
    some = {site: torch.as_tensor(a[:: -(-len(a) // most)]) for site, a in arrays.items()}
    return {site: x if x.is_floating_point() else x.float() for site, x in some.items()}
