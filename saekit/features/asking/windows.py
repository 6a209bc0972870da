"""Window: a stretch of the corpus as a feature store gives it out, with what one latent does in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saekit.plots import text_concordance
from saekit.plots.plain import ROWS


@dataclass(frozen=True, repr=False)
class Window:
    """Neighbouring tokens of one row of the model's input.

    places:   the tokens' places in the store.
    document: the document they are of.
    tokens:   their ids; `texts` what each adds to the text (bytes of a split character show as �).
    values:   z of the latent at each, 0 where it is silent.
    concepts: the labelled concepts of each; empty sets where the corpus has no labels.
    counted:  False at BOS and other tokens that are not counted.
    """

    places: tuple[int, ...]
    document: int
    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    values: tuple[float, ...]
    concepts: tuple[frozenset[str], ...]
    counted: tuple[bool, ...]

    @property
    def fires(self) -> bool:
        """Whether the latent fires on any of them."""
        return any(self.values)

    def __repr__(self) -> str:
        """On one line, the strongest firing marked; of a silent one its middle."""
        return text_concordance([self._line])

    @property
    def _line(self) -> tuple[Sequence[str], Sequence[float], int]:
        peak = max(range(len(self.values)), key=lambda i: abs(self.values[i])) if self.fires else len(self.texts) // 2
        return self.texts, self.values, peak


class Windows(list[Window]):
    """Windows in the order of their text: a list that prints the first of them."""

    def __repr__(self) -> str:
        lines = text_concordance([window._line for window in self[:ROWS]])
        return lines + (f"\n… {len(self) - ROWS} more windows" if len(self) > ROWS else "")
