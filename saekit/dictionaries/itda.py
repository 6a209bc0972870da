"""ITDA: the atoms are activations that were met (Leask et al. 2025, arXiv 2505.17769).

An activation joins the dictionary, its norm made 1, where a signed matching pursuit of k steps over the atoms leaves
‖x − x̂‖² > τ of it. No gradient. τ sets the size, so where none is given it is the quantile of each batch's errors with
which the wanted size is reached after ``GROWING`` of the run.

Other than in the paper it begins with activations drawn from the first batch and not with each frequent token's mean,
and atoms do not carry their text yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor, nn

from saekit.dictionaries.dictionary import Activation, Dictionary
from saekit.dictionaries.method import Method
from saekit.dictionaries.parts import LinearDecoder
from saekit.dictionaries.parts.pursuit import PursuitEncoder
from saekit.dictionaries.wiring import Wiring
from saekit.objectives import Batch, Loss, State

GROWING, ALIKE, FIRST = 0.8, 0.99, 16


@dataclass(frozen=True)
class ITDA(Method):
    """A dictionary that grows by the activations it does not yet explain.

    k:    steps of the pursuit: atoms a token, at most
    tau:  an activation joins where ‖x − x̂‖² is above it, in units of the mean ‖x − x̄‖²; None: by the wanted size
    seed: of what is drawn at random
    d_sae, skip: as of every Method.
    """

    k: int = 16
    tau: float | None = None
    seed: int = 0

    learner: ClassVar[str] = "growing"
    equation: ClassVar[str] = "x joins as x/‖x‖ where ‖x − x̂‖² > τ; z by pursuit on |⟨d, r⟩|"
    source: ClassVar[str] = "Leask et al. 2025, arXiv 2505.17769"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.k >= 1:
            raise ValueError(f"k is a number of steps from 1, found {self.k}.")
        if self.tau is not None and not self.tau > 0:
            raise ValueError(f"tau must be above 0, found {self.tau}.")

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> ITDADictionary:
        """With one atom until activations join. Raises ValueError for a wiring of more than the one site it reads."""
        if not wiring.same or (len(wiring.reads) > 1 and not wiring.each):
            raise ValueError(f"ITDA writes the one site it reads, found the wiring {wiring}.")
        decoder = LinearDecoder.random(1, [widths[wiring.reads[0]]])
        return ITDADictionary(self, wiring, widths, PursuitEncoder(), decoder, d_sae=1)


class ITDADictionary(Dictionary):
    """The dictionary of the ITDA method."""

    decoder: LinearDecoder
    adjustable = ("k",)

    @property
    def signed(self) -> bool:
        """A coefficient of the pursuit may be negative."""
        return True

    def encode(self, x: Activation) -> SparseCodes:
        """k steps of a signed matching pursuit over the atoms."""
        x = self.join_reads(x)
        flat = x.flatten(0, -2) if x.ndim > 1 else x[None]
        return self.encoder(flat, self.decoder.directions, self.method.k, 0.0, signed=True).view(*x.shape[:-1])

    @torch.no_grad()
    def initialise(self, sample: Batch, state: State) -> None:
        """The decoder's bias stays 0: atoms are activations as they are. Raises ValueError where all of them are 0."""
        x = self.join_reads(sample.flat().reads)
        x = x[x.any(1)]
        if not len(x):
            raise ValueError(f"ITDA takes activations in, and all of the first batch at {self.reads[0]!r} are 0.")
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.method.seed)).to(x.device)
        self._take(x[order][: min(FIRST, self.method.d_sae)], begin=True)

    @torch.no_grad()
    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        """Take in the activations with the largest errors: those above τ, or so many that the size is reached in
        time."""
        room = self.method.d_sae - self.d_sae
        x = self.join_reads(batch.flat().reads)
        if self.method.tau is not None:
            wanted = min(room, int((loss.error > self.method.tau * (x - x.mean(0)).square().sum(1).mean()).sum()))
        else:
            left = max(1, int(GROWING * state.steps) - state.step)
            wanted = min(room, len(x), -(-room // left))
        if wanted > 0:
            self._take(x[loss.error.topk(wanted).indices])

    def _take(self, x: Float[Tensor, "m d"], begin: bool = False) -> None:
        """Let activations join, those apart that are like one that is there or came before them, and zeros."""
        new = nn.functional.normalize(x[x.any(1)], dim=1)
        there = new[:0] if begin else self.decoder.directions.detach()
        alike = (new @ new.T).tril(-1).gt(ALIKE).any(1) | (new @ there.T).gt(ALIKE).any(1)
        atoms = torch.cat([there, new[~alike]])
        self.resize(len(atoms))
        self.decoder.directions.data.copy_(atoms)

    def resize(self, d_sae: int) -> None:
        """Room for so many atoms, all zero; ``latent_max`` is not measured any more."""
        old = self.decoder.directions
        self.decoder.directions = nn.Parameter(old.new_zeros(d_sae, old.shape[1]), requires_grad=old.requires_grad)
        self.latent_max = self.latent_max.new_full((d_sae,), torch.nan)
