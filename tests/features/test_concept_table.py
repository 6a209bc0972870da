"""Labels by place, from several files of several row groups, against the rows one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from saekit.features.asking.concept_table import ConceptTable
from saekit.features.building.tables import table


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_labels_are_those_of_the_rows(tmp_path: Path, size: int) -> None:
    rng = np.random.default_rng(0)
    places = np.sort(rng.integers(0, 120, 150))  # several labels a place, which a row group may divide; some have none
    names = [f"concept{number}" for number in rng.integers(0, 5, 150)]
    files = []
    for part, (first, last) in enumerate([(0, 40), (40, 40), (40, 150)]):  # one is empty
        files.append(tmp_path / f"{part}.parquet")
        rows = table("concepts", {"place": places[first:last], "concept": names[first:last]})
        pq.write_table(rows, files[-1], row_group_size=size)
    found = ConceptTable(files)
    for asked in (np.arange(-3, 130), np.array([5, 60, 61, 119]), np.array([], np.int64), np.array([500])):
        plain: dict[int, list[str]] = {}
        for place, name in zip(places.tolist(), names, strict=True):
            if place in asked:
                plain.setdefault(place, []).append(name)
        assert found.at(asked) == plain


def test_a_table_without_rows(tmp_path: Path) -> None:
    pq.write_table(table("concepts", {"place": []}), tmp_path / "none.parquet")
    assert ConceptTable([tmp_path / "none.parquet"]).at(np.arange(5)) == ConceptTable([]).at(np.arange(5)) == {}
