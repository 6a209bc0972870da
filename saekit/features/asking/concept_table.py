"""The table of concepts by place: the labels of a few hundred tokens out of millions, without reading them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

KEPT = 256  # row groups that stay decoded, 16 million labels


class ConceptTable:
    """Its rows ascend by place; the least and the largest place of each row group say which are needed."""

    def __init__(self, files: Sequence[Path]) -> None:
        metadata = [pq.read_metadata(file) for file in files]
        known = zip(files, metadata, strict=True)
        groups = [(file, meta, i) for file, meta in known for i in range(meta.num_row_groups)]
        self._groups = [one for one in groups if one[1].row_group(one[2]).num_rows]
        ends = [meta.row_group(i).column(0).statistics for _, meta, i in self._groups]
        self._first = np.array([end.min for end in ends], np.int64)
        self._last = np.array([end.max for end in ends], np.int64)
        self._group = lru_cache(KEPT)(self._read)

    def at(self, places: np.ndarray) -> dict[int, list[str]]:
        """The labels at ascending places, where there are any."""
        found: dict[int, list[str]] = defaultdict(list)
        begins, ends = np.searchsorted(places, self._first), np.searchsorted(places, self._last, side="right")
        for group in np.flatnonzero(begins < ends).tolist():
            own, concepts = self._group(group)
            asked = places[begins[group] : ends[group]]
            starts, stops = np.searchsorted(own, asked), np.searchsorted(own, asked, side="right")
            some = np.flatnonzero(starts < stops)
            for place, start, stop in zip(
                asked[some].tolist(), starts[some].tolist(), stops[some].tolist(), strict=True
            ):
                found[place] += concepts[start:stop]
        return found

    def _read(self, group: int) -> tuple[np.ndarray, list[str]]:
        file, metadata, number = self._groups[group]
        with pq.ParquetFile(file, metadata=metadata, memory_map=True) as opened:
            rows = opened.read_row_group(number, columns=["place", "concept"], use_threads=False)
        return rows["place"].to_numpy(), rows["concept"].to_pylist()
