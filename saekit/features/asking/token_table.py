"""The table of tokens by place: a few hundred places out of millions, without reading more than they need."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

COLUMNS = ("token", "document", "position", "row", "counted")
KEPT = 256  # row groups that stay decoded, 36 MB


class TokenTable:
    """Places are the numbers of rows over all files, so that a place says in which row group it is."""

    def __init__(self, files: Sequence[Path]) -> None:
        metadata = [pq.read_metadata(file) for file in files]
        known = zip(files, metadata, strict=True)
        self._groups = [(file, meta, i) for file, meta in known for i in range(meta.num_row_groups)]
        rows = [meta.row_group(i).num_rows for _, meta, i in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self._group = lru_cache(KEPT)(self._read)

    @property
    def places(self) -> int:
        """Rows of all files."""
        return int(self._starts[-1])

    def at(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at ascending places, with `place`; places that are not there are left out."""
        places = places[(places >= 0) & (places < self._starts[-1])]
        which = np.searchsorted(self._starts, places, side="right") - 1
        found: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        for group in np.unique(which) if len(which) else [0]:
            rows = self._group(int(group))
            own = places[which == group] - self._starts[group]
            for name in COLUMNS:
                found[name].append(rows[name][own])
        return {"place": places, **{name: np.concatenate(parts) for name, parts in found.items()}}

    def _read(self, group: int) -> dict[str, np.ndarray]:
        file, metadata, number = self._groups[group]
        with pq.ParquetFile(file, metadata=metadata, memory_map=True) as opened:
            rows = opened.read_row_group(number, columns=list(COLUMNS), use_threads=False)
        return {name: rows[name].to_numpy() for name in COLUMNS}
