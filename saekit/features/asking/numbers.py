"""The columns of all latents, or of those that a filter lets pass, in order: one question to DuckDB.

The browser's page filters by itself, with the same rules (widgets/src/feature_browser/filtering.js): numbers are
float32, what was not measured passes no range and is sorted last, ties go by number; unsorted is the usual order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from saekit_widgets.filtering import checked_filter, checked_sort, searchable
from saekit_widgets.protocols import Fact

from saekit.features import schema
from saekit.features.asking.hints import hints
from saekit.features.asking.on_token import firing_on
from saekit.features.asking.opened import OpenedStore
from saekit.features.asking.order import usual
from saekit.features.columns import COLUMNS, Column, columns_of

if TYPE_CHECKING:
    import pandas

OF_TEXT = ("concept", "top_tokens", "top_logits", "loss_effect", "f1")
FIRST = ("latent", "label", "density", "firings", "detection", *OF_TEXT, "max_activation", "star")
"""Of a frame's columns those that one looks at first, the widest in the middle, which a narrow terminal leaves out; a
store over arrays has none OF_TEXT."""
Tables = dict[str, pa.Table]


def numbers(store: OpenedStore) -> tuple[str, Tables]:
    """The question for latent, dead, best (concept), usual (its place in the usual order) and every column, null where
    it was not measured, a row a latent; and the tables that it needs beside the store's."""
    columns = columns_of(store.manifest)
    made: dict[str, Any] = {"latent": np.arange(store.d_sae, dtype=np.int32), "usual": usual(store)}
    made |= {column.name: values_of(store, column) for column in columns if not isinstance(column.values, str)}
    parts = [f"nullif(({_expression(column)})::float, 'nan'::float) as \"{column.name}\"" for column in columns]
    query = (
        f"select latents.latent, firings = 0 as dead, coalesce(concept[1], '') as best, made.usual, {', '.join(parts)} "
        "from latents join made using (latent)"
    )
    return query, {"made": pa.table(made)}


def values_of(store: OpenedStore, column: Column) -> np.ndarray:
    """What a column's function gives; it is called once for a store, unless its values change."""
    assert not isinstance(column.values, str)
    if column.changes or column not in store.made:
        values = np.asarray(column.values(store), dtype=np.float32)
        if values.shape != (store.d_sae,):
            raise ValueError(
                f"column {column.name!r} gives {values.shape} numbers, the store has {store.d_sae} latents."
            )
        store.made[column] = values
    return store.made[column]


def facts(store: OpenedStore, row: dict[str, Any]) -> dict[str, Fact]:
    """The columns of one latent that stand in its header and on its card, by name."""
    found = {}
    for column in columns_of(store.manifest):
        if not column.in_header:
            continue
        if column.fact is not None:
            found[column.name] = column.fact(store, row)
        elif isinstance(column.values, str):
            query = f"select ({column.values})::float as value from latents where latent = ?"
            found[column.name] = _measured(store.database.rows(query, [row["latent"]])[0]["value"])
        else:
            found[column.name] = _measured(float(values_of(store, column)[row["latent"]]))
    return found


def matching(store: OpenedStore, filter: Mapping[str, Any], sort: Sequence[Any] | None = None) -> list[int]:
    """The latents that pass, in order; see FeatureBrowser for what filter and sort may be."""
    columns = columns_of(store.manifest)
    names = [column.name for column in columns]
    query = "select distinct concept[1] as name from latents where name is not null order by name"
    concepts = [row["name"] for row in store.database.rows(query)]
    filter = checked_filter(filter, [column.name for column in columns if column.filterable], concepts)
    column, descending = checked_sort(sort, names) or ["usual", False]
    query, tables = numbers(store)
    conditions, values = _conditions(filter)
    source = "numbers"
    if "search" in filter or "starred" in filter:
        source, tables["said"] = "numbers join said using (latent)", _said(store)
        tables["on_it"] = pa.table({"latent": pa.array(firing_on(store, filter.get("search", "")), pa.int32())})
    asked = (
        f"with numbers as ({query}) select latent from {source} where {' and '.join(conditions)} "
        f'order by "{column}"{" desc" if descending else ""} nulls last, latent'
    )
    return store.database.columns(asked, values, tables)["latent"].tolist()


def frame(
    store: OpenedStore,
    filter: Mapping[str, Any] | None = None,
    sort: Sequence[Any] | None = None,
    all: bool = False,
) -> pandas.DataFrame:
    """A row a latent: FIRST and columns of one's own; with `all` the whole table latents, every column, star and note.
    Tokens as text; "" where there is no label or note."""
    import pandas

    order = None if filter is None and sort is None else matching(store, filter or {}, sort)
    query, tables = numbers(store)
    known = store.database.columns("select * from latents limit 0")
    others = [f'numbers."{column.name}"' for column in columns_of(store.manifest) if column.name not in known]
    found = store.database.frame(
        f"with numbers as ({query}) select latents.*, {', '.join(others)}, coalesce(labels.label, '') as label, "
        "coalesce(labels.star, false) as star, coalesce(labels.note, '') as note "
        "from latents join numbers using (latent) left join labels using (latent) order by latent",
        tables={"labels": store.labels.frame(), **tables},
    )
    if order is not None:
        found = found.iloc[order].reset_index(drop=True)
    if not all:
        own = [column.name for column in columns_of(store.manifest) if column.of_heads or column not in COLUMNS]
        without = OF_TEXT if schema.over_arrays(store.manifest) else ()
        found = found[[name for name in (*FIRST, *own) if name not in without]].copy()
    for column in {"peak_tokens", "top_tokens", "bottom_tokens"} & set(found):
        texts = [[store.text_of(int(i)) for i in ids] if np.iterable(ids) else None for ids in found[column]]
        found[column] = pandas.Series(texts, dtype=object)
    for known_by_name in (one for one in columns_of(store.manifest) if one.names and one.name in found):
        numbers_of = found[known_by_name.name]
        found[known_by_name.name] = pandas.Series(
            [None if np.isnan(number) else known_by_name.names[int(number)] for number in numbers_of], dtype=object
        )
    return found


def _expression(column: Column) -> str:
    return column.values if isinstance(column.values, str) else f'made."{column.name}"'


def _measured(value: float | None) -> Fact:
    return Fact(value=None if value is None or np.isnan(value) else value)


def _conditions(filter: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    """Of a checked filter. Latents that never fire only where something asks for them: the switch, a star, their own
    number."""
    words = searchable(filter.get("search", "")).strip()
    conditions, values = ["true"], []
    if filter.get("dead"):
        conditions.append("dead")
    elif not filter.get("starred"):
        conditions.append("(not dead or latent::varchar = ?)")
        values.append(str(int(words)) if re.fullmatch("[0-9]+", words) else "")
    if filter.get("starred"):
        conditions.append("star")
    if words:
        conditions.append("(contains(text, ?) or latent in (select latent from on_it))")
        values.append(words)
    if "concept" in filter:
        conditions.append("best = ?")
        values.append(filter["concept"])
    for name, given in filter.items():
        for sign, side in zip((">=", "<="), given, strict=True) if isinstance(given, list) else ():
            if side is not None:
                conditions.append(f'"{name}"::double {sign} ?::double')
                values.append(side)
            else:
                conditions.append(f'"{name}" is not null')
    return conditions, values


def _said(store: OpenedStore) -> pa.Table:
    """text: what search looks at, of every latent: hint, concept, label, note, best explanation, number; star."""
    labels, explained = store.labels.all(), store.labels.best_explanations()
    found = store.database.rows("select coalesce(concept[1], '') as concept from latents order by latent")
    texts, stars = [], []
    for latent, (hint, row) in enumerate(zip(hints(store), found, strict=True)):
        own, (explanation, _) = labels.get(latent, {}), explained.get(latent, ("", None))
        said = [hint, row["concept"], own.get("label", ""), own.get("note", ""), explanation]
        texts.append("\0".join([*map(searchable, said), str(latent)]))
        stars.append(bool(own.get("star")))
    return pa.table({"latent": np.arange(store.d_sae, dtype=np.int32), "text": texts, "star": stars})
