"""Available: what there is of a kind, as a small named result that draws itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saekit.plots.plain import text_table
from saekit.plots.table import html_table

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class Available:
    """One row a thing; iterating gives the names, each once.

    rows: name, what, size … definition: what the rows are and the call that loads one."""

    rows: tuple[dict[str, str], ...]
    definition: str

    def frame(self) -> pandas.DataFrame:
        """The rows as a pandas frame."""
        import pandas

        return pandas.DataFrame(list(self.rows))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(row["name"] for row in self.rows))

    def __repr__(self) -> str:
        return f"{self.definition}\n{text_table(self.rows, more='.frame()')}"

    def _repr_html_(self) -> str:
        return html_table(self.rows, header=self.definition)
