"""Tokens by place, out of row groups of several files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from saekit.features.asking.token_table import COLUMNS, TokenTable


def test_any_places_over_groups_and_files(tmp_path) -> None:
    random = np.random.default_rng(0)
    whole = {name: random.integers(0, 2 if name == "counted" else 1000, 50).astype(np.int32) for name in COLUMNS}
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file, part in zip(files, (slice(0, 23), slice(23, 50)), strict=True):
        pq.write_table(pa.table({name: column[part] for name, column in whole.items()}), file, row_group_size=7)
    table = TokenTable(files)
    for wanted in (np.array([], int), np.array([-3, 0, 6, 7, 22, 23, 49, 50]), np.arange(50)):
        found = table.at(wanted)
        there = wanted[(wanted >= 0) & (wanted < 50)]
        assert np.array_equal(found["place"], there)
        for name in COLUMNS:
            assert np.array_equal(found[name], whole[name][there])
