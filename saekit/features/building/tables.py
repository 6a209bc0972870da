"""Writing the tables of a store as Parquet, each part whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from saekit.features import schema
from saekit.features.building.chunks import Readings
from saekit.features.building.reading import Progress
from saekit.files import write_atomically

ROW_GROUP = 2**16
ROW_GROUPS = {"latents": 2**8, "tokens": 2**13}
"""Rows read together: fewer where single rows are asked for, since all of a group is read then."""


def table(name: str, values: dict[str, Any]) -> pa.Table:
    """A table of the schema; columns that were not made are null."""
    kind = schema.TABLES[name]
    rows = len(next(iter(values.values())))
    columns = []
    for field in kind:
        column = values.get(field.name)
        if column is None:
            columns.append(pa.nulls(rows, field.type))
        elif isinstance(column, pa.Array):
            columns.append(column.cast(field.type))
        else:
            columns.append(pa.array(column, type=field.type))
    return pa.table(columns, schema=kind)


def write_table(folder: Path, name: str, number: int, part: pa.Table) -> None:
    """Write a part of a table as NAME/part-NUMBER.parquet."""
    options: dict[str, Any] = {}
    if name == "activations":  # places ascend within a latent; the bytes of floats compress better apart
        floats = dict.fromkeys(("value", "logit_effect", "loss_effect"), "BYTE_STREAM_SPLIT")
        options = {"use_dictionary": ["latent"], "column_encoding": {"place": "DELTA_BINARY_PACKED", **floats}}
    (folder / name).mkdir(exist_ok=True)
    _write(
        schema.part_of(folder, name, number),
        part,
        options | {"row_group_size": ROW_GROUPS.get(name, ROW_GROUP)},
    )


def write_text(
    folder: Path,
    readings: Readings,
    progress: Progress,
    concepts: Sequence[str],
    words: Callable[[], tuple[list[bytes], list[bool]]],
) -> None:
    """The tables of the corpus: tokens, concepts, documents, vocabulary; nothing where they are there.
    words: gives the bytes of every token id, and whether it is special."""
    last = folder / "vocabulary.parquet"
    if last.is_file():
        return
    counted = np.zeros(progress.documents, np.int64)
    rows = 0
    for number, (chunk, base) in enumerate(zip(readings.chunks, readings.bases[:-1], strict=True)):
        row = np.cumsum(chunk["row_first"] == np.arange(len(chunk["token"]))) - 1 + rows
        rows = int(row[-1]) + 1
        columns = {name: chunk[name] for name in ("token", "document", "position", "counted")}
        columns |= {"place": np.arange(len(row)) + base, "row": row}
        write_table(folder, "tokens", number, table("tokens", columns))
        names = np.array([*concepts, ""], dtype=object)
        labels = {"place": chunk["label_place"] + base, "concept": names[chunk["label_concept"]]}
        write_table(folder, "concepts", number, table("concepts", labels))
        counted += np.bincount(chunk["document"][chunk["counted"]], minlength=len(counted))
    kinds = np.array(list(progress.kinds), dtype=object)
    kind = kinds[np.concatenate([chunk["document_kind"] for chunk in readings.chunks])]
    documents = {"document": np.arange(len(kind)), "kind": kind, "tokens": counted}
    write_table(folder, "documents", 0, table("documents", documents))
    texts, special = words()
    _write(last, table("vocabulary", {"token": np.arange(len(texts)), "bytes": texts, "special": special}), {})


def _write(file: Path, part: pa.Table, options: dict[str, Any]) -> None:
    write_atomically(file, lambda path: pq.write_table(part, path, compression="zstd", **options))
