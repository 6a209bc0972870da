"""StoreStream: a store's activations in a seeded order, in bounded memory, again and again.

Every pass takes the shards in a new seeded order; a chunk is as many of them as fill it, shuffled (see shuffled)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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
    ) -> None:
        super().__init__(batch_size, seed, state)
        for site in sites:
            if site not in store.widths:
                raise ValueError(unknown("the store does not hold", site, store.sites))
        self.store, self.sites, self.max_norm_multiple = store, list(sites), max_norm_multiple
        self.widths = {site: store.widths[site] for site in sites}

    def anew(self) -> StoreStream:
        """The same stream at its beginning."""
        return StoreStream(self.store, self.sites, self.batch_size, self.seed, None, self.max_norm_multiple)

    @property
    def provenance(self) -> dict[str, Any]:
        """The store's."""
        return self.store.provenance

    def read(self, begun: StreamState) -> tuple[dict[str, Tensor], int]:
        """In the store's own precision: a batch becomes float32 when it is taken. `documents` counts shards here,
        passes and all."""
        dtype = getattr(torch, self.store.manifest["dtype"])
        pieces = {site: [begun.carried[site].to(dtype)] if site in begun.carried else [] for site in self.sites}
        counted, taken = 0, begun.documents
        while counted < self.chunk_tokens:
            shard = self.store.shard(self._number(taken), self.sites)
            for site in self.sites:
                pieces[site].append(shard[site])
            counted += len(shard[self.sites[0]])
            taken += 1
        return {site: torch.cat(parts) for site, parts in pieces.items()}, taken

    def _number(self, taken: int) -> int:
        """The shard that comes after `taken` others."""
        passed, place = divmod(taken, len(self.store.shards))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + 104_729 + passed)
        return int(torch.randperm(len(self.store.shards), generator=generator)[place])
