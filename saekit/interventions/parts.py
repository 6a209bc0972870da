"""What an edit does at a site, as a running model needs it: through the codes of a dictionary, or along directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.interventions.modes import edited_codes, moved
from saekit.interventions.standing import Standing
from saekit.models import Site


@dataclass(frozen=True)
class CodesPart:
    """h' = h + decode(z') − decode(z) through one dictionary."""

    standing: Standing
    latents: list[int]
    mode: str
    strength: float

    @property
    def writes(self) -> tuple[Site, ...]:
        """The sites that the dictionary changes."""
        return self.standing.writes

    def move(self, site: Site, h: Tensor, codes: SparseCodes | None, x: Mapping[Site, Tensor]) -> Tensor:
        """h' − h. Raises ValueError where nothing was coded."""
        if codes is None:
            raise ValueError(f"mode {self.mode!r} changes the codes of what its dictionary reads, found none.")
        edited = edited_codes(codes, self.latents, self.mode, self.strength, self.standing.dictionary.latent_max)
        before, after = (self.standing.decode(z, x, site) for z in (codes, edited))
        return (after - before).to(h)

    def new(self, site: Site, h: Tensor, codes: SparseCodes | None, x: Mapping[Site, Tensor]) -> Tensor:
        """h'."""
        return h + self.move(site, h, codes, x)


@dataclass(frozen=True)
class DirectionsPart:
    """A change along directions [n, d] at each of its sites."""

    directions: dict[Site, Tensor]
    mode: str
    strength: float
    standing: None = None

    @property
    def writes(self) -> tuple[Site, ...]:
        """The sites that have directions."""
        return tuple(self.directions)

    def move(self, site: Site, h: Tensor, codes: SparseCodes | None, x: Mapping[Site, Tensor]) -> Tensor:
        """h' − h."""
        return moved(h, self.directions[site], self.mode, self.strength)

    def new(self, site: Site, h: Tensor, codes: SparseCodes | None, x: Mapping[Site, Tensor]) -> Tensor:
        """h'."""
        return h + self.move(site, h, codes, x)
