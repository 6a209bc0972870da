"""StoreStream: a store's activations in a seeded order, in bounded memory, again and again.

Every pass takes the shards in a new seeded order; a chunk is as many of them as fill it, shuffled (see shuffled)."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from saekit.activations.ahead import Stopped
from saekit.activations.chunk import Columns
from saekit.activations.shuffled import ShuffledStream, StreamState
from saekit.activations.store import ActivationStore
from saekit.files.choices import unknown


class StoreStream(ShuffledStream):
    """Batches from a store at some of its sites. Raises ValueError for a site that it does not hold (naming those that
    it does) and for a damaged shard (naming it)."""

    def __init__(
        self,
        store: ActivationStore,
        sites: Sequence[str],
        batch_size: int,
        seed: int = 0,
        state: StreamState | None = None,
        max_norm_multiple: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(batch_size, seed, state)
        for site in sites:
            if site not in store.widths:
                raise ValueError(unknown("the store does not hold", site, store.sites))
        self.store, self.sites, self.max_norm_multiple = store, list(sites), max_norm_multiple
        self.widths = {site: store.widths[site] for site in sites}
        self.dtype: torch.dtype = getattr(torch, store.manifest["dtype"])
        self.device = torch.device(device)

    def anew(self) -> StoreStream:
        """The same stream at its beginning, read in turn."""
        again = copy.copy(self)
        again.state, again.ahead = StreamState(), 0
        return again

    @property
    def provenance(self) -> dict[str, Any]:
        """The store's."""
        return self.store.provenance

    @property
    def token_bytes(self) -> int:
        """Of its activations at the sites."""
        return sum(self.widths.values()) * self.dtype.itemsize

    def read(self, begun: StreamState, stop: threading.Event) -> tuple[dict[str, Tensor], int]:
        """In the store's own precision: a batch becomes float32 when it is taken. `documents` counts shards here,
        passes and all."""
        counted, taken, numbers = 0, begun.documents, []
        while counted < self.chunk_tokens:
            numbers.append(self._number(taken))
            counted += self.store.shards[numbers[-1]]["tokens"]
            taken += 1
        filled = Columns(self.batch_size + counted, self.place)
        filled.add({site: x.to(self.dtype) for site, x in begun.carried.items()})
        for number in numbers:
            filled.add(self.store.shard(number, self.sites))
            if stop.is_set():
                raise Stopped
        return filled.filled(), taken

    def _number(self, taken: int) -> int:
        """The shard that comes after `taken` others."""
        passed, place = divmod(taken, len(self.store.shards))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + 104_729 + passed)
        return int(torch.randperm(len(self.store.shards), generator=generator)[place])
