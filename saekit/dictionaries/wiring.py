"""Wiring: which sites a dictionary reads and which it writes. With a method it makes TopK × transcoder no class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from saekit.files.roles import SITE
from saekit.models import Site


@dataclass(frozen=True, init=False)
class Wiring:
    """The sites read and written, by name; their widths come from the model or the arrays.

    Wiring(site) is a sparse autoencoder, Wiring([site, site]) a crosscoder, Wiring(site, other) a transcoder.
    each: one dictionary for any of these sites: the tokens of every site are rows of one training set, and it is used
          at one site at a time (multi-layer SAEs, layer groups). They must be equally wide, and be those it writes.
    layerwise: each site read has latents of its own, as many as the method says, which write the site of its number
          among the writes and those after it (cross-layer transcoders).
    reads, writes: names of sites; writes are the reads where they are not given.
    """

    role: ClassVar[str] = SITE
    reads: tuple[Site, ...]
    writes: tuple[Site, ...]
    each: bool = False
    layerwise: bool = False

    def __init__(
        self,
        reads: str | Sequence[str],
        writes: str | Sequence[str] | None = None,
        each: bool = False,
        layerwise: bool = False,
    ):
        object.__setattr__(self, "reads", _sites(reads, "reads"))
        object.__setattr__(self, "writes", self.reads if writes is None else _sites(writes, "writes"))
        object.__setattr__(self, "each", each)
        object.__setattr__(self, "layerwise", layerwise)
        if layerwise and (each or len(self.reads) != len(self.writes)):
            raise ValueError(
                f"with layerwise=True a dictionary writes as many sites as it reads, all of them at once, found "
                f"{len(self.reads)} reads, {len(self.writes)} writes and each={each}."
            )
        if each and self.reads != self.writes:
            raise ValueError(
                f"with each=True a dictionary writes where it reads, found reads {', '.join(self.reads)} and writes "
                f"{', '.join(self.writes)}: leave writes out."
            )

    @classmethod
    def transcoder(cls, layer: int) -> Wiring:
        """Reads what an MLP reads and writes what it adds to the residual stream (Dunefsky et al. 2024, arXiv
        2406.11944)."""
        return cls(f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.hook_mlp_out")

    @classmethod
    def crosscoder(cls, sites: str | Sequence[str | int], models: Sequence[str] = ()) -> Wiring:
        """Reads and writes several sites at once (Lindsey et al. 2024, "Sparse crosscoders"): names, or layers, whose
        residual stream after the block is meant; or the same of several models, named as in ``sk.train({"a": …})``."""
        named = [sites] if isinstance(sites, str) else [_residual(site) for site in sites]
        return cls([f"{model}:{site}" for model in models for site in named] if models else named)

    @classmethod
    def cross_layer(cls, layers: Sequence[int]) -> Wiring:
        """What each of these MLPs reads has latents of its own, which write what this MLP and those after it add to the
        residual stream (Ameisen et al. 2025, "Circuit tracing"). d_sae, k and all else of a method are a layer's.

        layers: their numbers, ascending."""
        if list(layers) != sorted(set(layers)):
            raise ValueError(f"a cross-layer dictionary writes its own and later layers: they ascend, found {layers}.")
        through = [cls.transcoder(layer) for layer in layers]
        return cls([each.reads[0] for each in through], [each.writes[0] for each in through], layerwise=True)

    @property
    def sites(self) -> tuple[Site, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys(self.reads + self.writes))

    @property
    def same(self) -> bool:
        """It writes what it reads."""
        return self.reads == self.writes

    def to_json(self) -> dict[str, object]:
        """reads, writes and each, as they stand in a config.json; and layerwise where it is so."""
        plain = {"reads": list(self.reads), "writes": list(self.writes), "each": self.each}
        return plain | ({"layerwise": True} if self.layerwise else {})

    def __str__(self) -> str:
        names = ", ".join(self.reads) if self.same else f"{', '.join(self.reads)} → {', '.join(self.writes)}"
        return f"each of {names}" if self.each else names


def _residual(site: str | int) -> str:
    return site if isinstance(site, str) else f"blocks.{site}.hook_resid_post"


def _sites(given: str | Sequence[str], what: str) -> tuple[Site, ...]:
    names = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"a wiring {what} sites by name, such as 'blocks.2.hook_resid_post', found {given!r}.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"a wiring {what} each site once, found {twice[0]!r} {names.count(twice[0])} times.")
    return tuple(Site(name) for name in names)
