"""Parts of several dictionaries as one part: each step goes to all of them."""

from __future__ import annotations

from typing import Any

from saekit.dictionaries.parts.part import Part


class Beside(Part):
    """Parts of the layers, which own their parameters; scales go to the layers' ``rescale``."""

    def __init__(self, parts: list[Part]) -> None:
        super().__init__()
        self.parts = tuple(parts)  # in a tuple, so that they are not registered here as well

    def before_step(self) -> None:
        """Each its own."""
        for part in self.parts:
            part.before_step()

    def after_step(self) -> None:
        """Each its own."""
        for part in self.parts:
            part.after_step()

    def rescale(self, reads: Any, writes: Any, codes: float) -> None:
        """Raises TypeError: codes of each layer have a scale of their own."""
        raise TypeError("the layers of a cross-layer dictionary rescale their parts: sae.rescale(scales).")
