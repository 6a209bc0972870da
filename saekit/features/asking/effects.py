"""Loss effects that were measured after a store was built: of features that somebody opened, or asked for.

They are kept beside the store's tables, in a file that several notebooks can write at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from saekit.features import schema
from saekit.files.sqlite import SqliteFile

TABLES = (
    "CREATE TABLE IF NOT EXISTS latents (latent INTEGER PRIMARY KEY, loss_effect REAL, loss_tokens INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS firings (latent INTEGER, place INTEGER, loss_effect REAL NOT NULL, "
    "PRIMARY KEY (latent, place)) WITHOUT ROWID",
)
NAMES = ("loss_effect", "loss_tokens")


@dataclass(frozen=True)
class Measured:
    """Of one latent: the mean over `tokens` firings drawn at random (None where there is none), and the effects of the
    firings that were measured, in nats, by place."""

    latent: int
    mean: float | None
    tokens: int
    places: np.ndarray
    effects: np.ndarray


class Effects:
    """The file of a store. It is made by the first write; until then nothing was measured."""

    def __init__(self, folder: Path) -> None:
        self.file = SqliteFile(folder / "effects.sqlite", "loss effects", TABLES)

    def keep(self, found: Sequence[Measured]) -> None:
        """Raises PermissionError where nothing can be written, TimeoutError where another program holds the file."""
        with self.file.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO latents VALUES (?, ?, ?)", [(one.latent, one.mean, one.tokens) for one in found]
            )
            rows = [
                (one.latent, place, effect)
                for one in found
                for place, effect in zip(one.places.tolist(), one.effects.tolist(), strict=True)
            ]
            connection.executemany("INSERT OR REPLACE INTO firings VALUES (?, ?, ?)", rows)

    def state(self) -> tuple[int, ...]:
        """Another one whenever somebody wrote something."""
        found = []
        for path in (self.file.path, self.file.path.with_name(self.file.path.name + "-wal")):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found += [status.st_mtime_ns, status.st_size]
        return tuple(found)

    def news(self, known: Collection[int]) -> tuple[pa.Table, pa.Table]:
        """What was measured of latents that are not known yet: a row a latent (latent, loss_effect, loss_tokens), a row
        a firing (latent, place, loss_effect)."""
        latents: list[tuple[int, float | None, int]] = []
        firings: list[tuple[int, int, float]] = []
        with self.file.reading() as connection:
            if connection is not None:
                every = connection.execute("SELECT latent, loss_effect, loss_tokens FROM latents")
                latents = [row for row in every if row[0] not in known]
                query = "SELECT latent, place, loss_effect FROM firings WHERE latent = ?"
                firings = [row for latent, *_ in latents for row in connection.execute(query, [latent])]
        return (
            _table(latents, schema.LATENTS, ("latent", *NAMES)),
            _table(firings, schema.ACTIVATIONS, ("latent", "place", "loss_effect")),
        )


def _table(rows: Sequence[tuple[object, ...]], kind: pa.Schema, names: Sequence[str]) -> pa.Table:
    fields = [kind.field(name) for name in names]
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)], schema=pa.schema(fields)
    )
