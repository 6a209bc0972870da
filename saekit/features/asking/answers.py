"""What a store answers about one latent: named results that draw themselves and say how they are defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saekit.plots import concordance, html_table, sparkline, text_concordance, text_table

if TYPE_CHECKING:
    import pandas
    from saekit_widgets.protocols import Example


@dataclass(frozen=True, repr=False)
class Answer:
    """Rows of one question about one latent."""

    latent: int
    rows: list[dict[str, Any]]
    definition: str

    def frame(self) -> pandas.DataFrame:
        """A row a row of the answer."""
        import pandas

        return pandas.DataFrame(self.rows)

    def __repr__(self) -> str:
        return f"latent {self.latent}\n{text_table(self.rows, more='.frame()')}"

    def __len__(self) -> int:
        return len(self.rows)

    def _repr_html_(self) -> str:
        return html_table(self.rows, caption=f"latent {self.latent}", header=self.definition)


class Histogram(Answer):
    """The rows low, high, count of bins from the least to the largest activation."""

    def __repr__(self) -> str:
        if not self.rows:
            return f"latent {self.latent} never fired: it has no histogram"
        low, high = self.rows[0]["low"], self.rows[-1]["high"]
        counts = [row["count"] for row in self.rows]
        said = f"latent {self.latent}: {sum(counts):,} activations in {len(counts)} bins, heights logarithmic; .frame()"
        return f"{said}\n{low:.4g} ▕{sparkline(counts)}▏ {high:.4g}".replace("-", "−")


@dataclass(frozen=True, repr=False)
class Examples:
    """Examples of one kind. `examples`: as a browser gets them (see saekit_widgets.protocols.Example)."""

    latent: int
    kind: str
    examples: Sequence[Example]
    bands: Sequence[int]
    maximum: float
    definition: str

    def __repr__(self) -> str:
        """One an example, the peak marked and in one column."""
        said = f"latent {self.latent}, {self.kind} examples: {len(self)}, its maximum {self.maximum:.4g}"
        return f"{said}\n{text_concordance(self._lines(), [example['value'] for example in self.examples])}"

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Any:
        return iter(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def frame(self) -> pandas.DataFrame:
        """A row an example: value, document, position, band, token at the peak, text."""
        import pandas

        rows = [
            {
                "value": example["value"],
                "document": example["document"],
                "position": example["position"],
                "band": band,
                "token": example["pieces"][example["peak"]],
                "text": "".join(example["pieces"]),
                "copies": example["copies"],
            }
            for example, band in zip(self.examples, self.bands, strict=True)
        ]
        return pandas.DataFrame(rows, columns=["value", "document", "position", "band", "token", "text", "copies"])

    def _repr_html_(self) -> str:
        numbers = [example["value"] for example in self.examples]
        drawn = concordance(self._lines(), maximum=self.maximum, numbers=numbers)
        return drawn.html + html_table([], header=self.definition)

    def _lines(self) -> list[tuple[Sequence[str], Sequence[float], int]]:
        return [(example["pieces"], example["values"], example["peak"]) for example in self.examples]
