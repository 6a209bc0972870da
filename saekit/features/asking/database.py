"""The Parquet files of a store as tables of DuckDB."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from saekit.features import schema
from saekit.features.asking.concept_table import ConceptTable
from saekit.features.asking.effects import Effects
from saekit.features.asking.token_table import TokenTable

if TYPE_CHECKING:
    import pandas

_STORED = {"latents": "stored_latents", "activations": "stored_activations"}
_CHANGES = ("DELETE", "UPDATE", "INSERT", "DROP", "ALTER", "MERGE_INTO")
_PLAIN = (
    *(f"create view {name} as select * from {stored}" for name, stored in _STORED.items()),
    "create table effects (latent integer, loss_effect float, loss_tokens integer)",
    "create table firing_effects (latent integer, place bigint, loss_effect float)",
)
# A join keeps no order, which whoever asks these tables relies on.
_WITH_EFFECTS = (
    "insert into effects select * from measured",
    "insert into firing_effects select * from measured_firings",
    "create or replace view latents as select s.* replace (coalesce(s.loss_effect, e.loss_effect) as loss_effect, "
    "coalesce(e.loss_tokens, s.loss_tokens) as loss_tokens) "
    "from stored_latents s left join effects e on s.latent = e.latent order by s.latent",
    "create or replace view activations as select s.* replace (coalesce(s.loss_effect, e.loss_effect) as loss_effect) "
    "from stored_activations s left join firing_effects e on s.latent = e.latent and s.place = e.place "
    "order by s.latent, s.place",
)


class Database:
    """Questions from several threads wait for each other. A missing or damaged file is a ValueError that names it."""

    def __init__(self, folder: Path, files: Mapping[str, Sequence[Path]]) -> None:
        """files: of each table of schema.TABLES, in the order of its rows."""
        self.folder, self.files = folder, files
        self.effects = Effects(folder)
        self._taken: tuple[int, ...] = ()  # the state of the effects that the tables show
        self._lock = threading.Lock()
        self._connection = duckdb.connect()
        with self._telling():
            for name, kind in schema.TABLES.items():
                if not self.files[name]:
                    self._connection.register("nothing", kind.empty_table())
                    self._connection.execute(f"create table {name} as select * from nothing")
                    continue
                columns = ", ".join(f'"{column}"' for column in kind.names)
                if name == "latents" and "peak_words" not in pq.read_schema(self.files[name][0]).names:
                    columns = columns.replace('"peak_words"', "null::varchar[] as peak_words")  # an older store
                quoted = ", ".join(_literal(file) for file in self.files[name])
                self._connection.execute(
                    f"create view {_STORED.get(name, name)} as select {columns} "
                    f"from read_parquet([{quoted}], hive_partitioning = false)"
                )
            for statement in _PLAIN:
                self._connection.execute(statement)

    def frame(
        self,
        query: str,
        parameters: Sequence[Any] = (),
        tables: Mapping[str, Any] | None = None,
    ) -> pandas.DataFrame:
        """The answer as a frame; `tables` are further ones, by name."""
        self._take_effects()
        with _stopped(), self._lock:
            return self._asked(query, parameters, tables).df()

    def columns(
        self,
        query: str,
        parameters: Sequence[Any] = (),
        tables: Mapping[str, Any] | None = None,
    ) -> dict[str, np.ndarray]:
        """The answer as arrays; nulls of floats are nan."""
        self._take_effects()
        with self._telling(), self._lock:
            return _filled(self._asked(query, parameters, tables).fetchnumpy())

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The answer in Python's own types."""
        self._take_effects()
        with self._telling(), self._lock:
            found = self._asked(query, parameters, None)
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def tokens_at(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """The rows of the table tokens at some places, ascending; places that are not there are left out."""
        with self._telling(), self._lock:
            return self._tokens.at(places)

    def concepts_at(self, places: np.ndarray) -> dict[int, list[str]]:
        """The labelled concepts at some places, ascending, where there are any."""
        with self._telling(), self._lock:
            return self._concepts.at(places)

    def _take_effects(self) -> None:
        """Let latents and activations show the loss effects that were measured up to now, by whomever."""
        with self._lock:
            state = self.effects.state()
            if state == self._taken:
                return
            cursor = self._connection.cursor()
            known = {latent for (latent,) in cursor.execute("select latent from effects").fetchall()}
            for name, table in zip(("measured", "measured_firings"), self.effects.news(known), strict=True):
                cursor.register(name, table)
            for statement in _WITH_EFFECTS:
                cursor.execute(statement)
            self._taken = state

    def _asked(
        self, query: str, parameters: Sequence[Any], tables: Mapping[str, Any] | None
    ) -> duckdb.DuckDBPyConnection:
        cursor = self._connection.cursor()
        for name, table in (tables or {}).items():
            cursor.register(name, table)
        return cursor.execute(query, list(parameters))

    @cached_property
    def _tokens(self) -> TokenTable:
        return TokenTable(self.files["tokens"])

    @cached_property
    def _concepts(self) -> ConceptTable:
        return ConceptTable(self.files["concepts"])

    @property
    def places(self) -> int:
        """Tokens in the table tokens."""
        with self._telling(), self._lock:
            return self._tokens.places

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            with _stopped():
                yield
        except (duckdb.NotImplementedException, duckdb.ConversionException, duckdb.ParserException):
            raise  # the question's fault
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            cause = str(error).strip().splitlines()[0]
            raise ValueError(
                f"a file of {self.folder} is missing or damaged ({cause}): build the store again in an empty folder, "
                "with the same call; labels.sqlite can be copied there."
            ) from error


@contextmanager
def _stopped() -> Iterator[None]:
    """Ctrl-C in a question is what it is everywhere; DuckDB makes an error of it."""
    try:
        yield
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from error
        raise


def check_question(query: str) -> None:
    """Raise ValueError for what is no question about the tables, or would change them."""
    try:
        statements = duckdb.extract_statements(query) if isinstance(query, str) else []
    except duckdb.Error:
        return  # DuckDB says by itself what is wrong, where
    if not statements:
        raise ValueError(f"query is a SELECT, such as 'select * from latents limit 5', found {query!r}.")
    for statement in statements:
        if statement.type.name in _CHANGES:
            raise ValueError(
                f"query is a SELECT, found {statement.type.name}: the tables of a store are only read; labels are "
                "written by store.set_label(latent, label)."
            )


def unanswered(error: duckdb.Error) -> str:
    """DuckDB's words for why a query has no answer as one sentence, with the tables that there are."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith("LINE") and set(line) != {"^"})
    return f"the query has no answer: {said} (tables: {', '.join([*schema.TABLES, 'labels'])})."


def _literal(file: Path) -> str:
    """A file as DuckDB's SQL names it and no other: in names of folders it sees patterns, `*`, `?` and `[`."""
    text = str(file)
    if "\\" in text and os.sep != "\\" and re.search(r"[*?[]", text):
        raise ValueError(f"DuckDB cannot read {text!r}, a name with a backslash and one of * ? [: rename the folder.")
    return "'" + re.sub(r"[*?[]", r"[\g<0>]", text).replace("'", "''") + "'"


def _filled(columns: dict[str, Any]) -> dict[str, np.ndarray]:
    return {
        name: values.filled(np.nan) if isinstance(values, np.ma.MaskedArray) and values.dtype.kind == "f" else values
        for name, values in columns.items()
    }
