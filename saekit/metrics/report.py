"""Report: the numbers of a dictionary on a corpus, each with its definition, under a header that reproduces them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from saekit.metrics.concepts import ConceptMatch
from saekit.metrics.metric import Number, Result
from saekit.metrics.recovery import Recovered
from saekit.metrics.sparsity import Sparse
from saekit.plots.plain import WIDTH, cut
from saekit.plots.table import spoken
from saekit.plots.tokens import shown

if TYPE_CHECKING:
    import pandas


MOST = 10  # numbers that are printed


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """Numbers of a dictionary on counted tokens of a corpus; print it for the main ones, ``text()`` is all of it.

    results:   what each metric gave, in their order; ``numbers`` are all of theirs.
    recovered: the model's predictions with the reconstruction in place; None where it cannot be edited at the site.
    recovered_of: the same of each of several models by its name, where ``recovered`` is None.
    concepts:  None where the corpus has no labels.
    tokens:    counted tokens. excluded: how many were left out, by reason. header: what reproduces the numbers.
    sparse: L0 and the density of each latent.
    """

    results: Sequence[Number | Result]
    sparse: Sparse
    recovered: Recovered | None
    concepts: ConceptMatch | None
    tokens: int
    excluded: Mapping[str, int]
    header: Mapping[str, Any]
    recovered_of: Mapping[str, Recovered] = field(default_factory=dict)

    @property
    def numbers(self) -> list[Number]:
        """Every number, in the order of the metrics."""
        # Not by class: after a reload, which is what %autoreload does, there are two of them.
        each = (getattr(result, "numbers", [result]) for result in self.results)
        return [number for numbers in each for number in numbers]

    def __getitem__(self, name: str) -> float:
        """A number by its name. Raises KeyError naming those that there are."""
        for number in self.numbers:
            if number.name == name:
                return number.value
        raise KeyError(f"the report has no {name!r}; it has {', '.join(number.name for number in self.numbers)}.")

    @property
    def explained_variance(self) -> float:
        """Share of the activations' spread that the reconstruction keeps."""
        return self["explained variance"]

    @property
    def l0(self) -> float:
        """Mean number of latents that fire on a token."""
        return self.sparse.l0

    @property
    def dead(self) -> float:
        """Share of latents that never fire here."""
        return self.sparse.dead

    @property
    def density(self) -> Float[Tensor, " d_sae"]:
        """Share of tokens on which each latent fires."""
        return self.sparse.density

    @property
    def shrinkage(self) -> float:
        """How much smaller reconstructions are than activations; 1 where they are not."""
        return self["shrinkage"]

    @property
    def ce_recovered(self) -> float:
        """NaN where the model cannot be edited at the site, and of several models (``recovered_of``)."""
        return float("nan") if self.recovered is None else self.recovered.ce_recovered

    @property
    def kl_recovered(self) -> float:
        """NaN where the model cannot be edited at the site, and of several models (``recovered_of``)."""
        return float("nan") if self.recovered is None else self.recovered.kl_recovered

    def rows(self) -> list[dict[str, object]]:
        """name, value, definition of each number."""
        return [
            {"name": number.name, "value": _shown(number), "definition": number.definition} for number in self.numbers
        ]

    def frame(self) -> pandas.DataFrame:
        """A row a number: name, value, definition."""
        import pandas

        return pandas.DataFrame(self.rows())

    @property
    def _title(self) -> str:
        """With the corpus and its split, which say what the numbers are of."""
        corpus = self.header.get("corpus")
        return f"Report on {corpus}" if corpus else "Report"

    def lines(self) -> list[str]:
        """The header, a line an entry."""
        return [f"{name}: {value}" for name, value in self.header.items()]

    def text(self) -> str:
        """The header and the numbers with their definitions, as plain text that can be sent to others."""
        rows = [(str(row["name"]), str(row["value"]), str(row["definition"])) for row in self.rows()]
        wide, high = (max(len(row[column]) for row in rows) for column in (0, 1))
        numbers = [f"{name:<{wide}}  {value:>{high}}  {definition}" for name, value, definition in rows]
        return "\n".join([self._title, *self.lines(), "", *numbers])

    def __repr__(self) -> str:
        """At most 15 lines: what was judged, the numbers, each beside what it is read, and where the rest is."""
        h = self.header
        name = h.get("model") or h.get("models")
        of = f" of {name}" if name else f": {h.get('activations')}"
        where = f"at {h.get('site', '?')}{of}"
        lines = [self._title, *(cut(shown(text), WIDTH) for text in (str(h.get("dictionary", "")), where))]
        rows = [(shown(n.name), spoken(_shown(n)), shown(n.beside or n.definition)) for n in self.numbers[:MOST]]
        wide, high = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
        lines += [cut(f"{name:<{wide}}  {value:>{high}}  {beside}", WIDTH) for name, value, beside in rows]
        if len(self.numbers) > MOST:
            lines.append(f"… {len(self.numbers) - MOST} more numbers")
        concepts = "" if self.concepts is None else "; all concepts: report.concepts.frame()"
        lines.append(f"with definitions: report.text(), report.frame(){concepts}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        told = [str(self.header[name]) for name in ("dictionary", "site", "tokens") if name in self.header]
        folded = ("what reproduces these numbers", "\n".join(self.lines()))
        return html_table(self.rows(), caption=self._title, header=" · ".join(told), folded=folded)


def _shown(number: Number) -> float:
    return round(number.value, number.digits) if isinstance(number.value, float) else number.value
