"""Window: a stretch of the corpus as a feature store gives it out, with what one latent does in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
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
