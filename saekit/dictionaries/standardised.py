"""Standardised: any method on standardised tokens, so that one dictionary serves layers of different sizes (MLSAE:
Lawson et al. 2024, arXiv 2409.04185).

The residual stream grows from layer to layer, and a squared error over all of them would be about the last ones. So
each token at each site is brought to mean 0 and standard deviation 1 over its d values before it is coded, which is
undone behind the decoder: x̂ = σ · x̂_base((x − μ) / σ) + μ. Codes are in standardised units and do not grow with x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries.dictionary import Activation, Dictionary
from saekit.dictionaries.nested import NestedDictionary, NestedMethod
from saekit.dictionaries.wiring import Wiring
from saekit.objectives import Batch, Loss, State

LEAST = 1e-6
"""Of |μ|: a smaller σ is rounding, and the token constant."""
SMALLEST = 1e-15
"""σ of a token of zeros, whose square is still a float32."""


@dataclass(frozen=True)
class Standardised(NestedMethod):
    """Any method, trained and used on standardised tokens: ``Standardised(sk.TopK(…))``, with
    ``sk.Wiring(sites, each=True)`` the multi-layer SAE.

    base: the method that codes (x − μ) / σ
    """

    equation: ClassVar[str] = "x̂ = σ · x̂_base((x − μ) / σ) + μ; μ, σ over the d values of each token; base's codes"
    source: ClassVar[str] = "Lawson et al. 2024, arXiv 2409.04185"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "learner", self.base.learner)
        if "models" in self.base.needs:
            name = type(self.base).__name__
            raise ValueError(f"{name} runs the model, which knows no standardised tokens: {name}(Standardised(…)).")

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> StandardisedDictionary:
        """Around the base's dictionary. Raises ValueError for a wiring that writes elsewhere than it reads, or several
        sites at once."""
        if not wiring.same or (len(wiring.reads) > 1 and not wiring.each):
            raise ValueError(
                f"Standardised undoes at a site what it did there, one site at a time, found the wiring {wiring}: with "
                "each=True it is for any of its sites."
            )
        return StandardisedDictionary(self, self.base.build(wiring, widths))


class StandardisedDictionary(NestedDictionary):
    """The dictionary of the Standardised method. Its decoder rows are directions whose length is in units of each
    token's σ."""

    @property
    def standardised(self) -> bool:
        """It is."""
        return True

    def encode(self, x: Activation) -> SparseCodes:
        """The base's codes of (x − μ) / σ."""
        return self.base.encode(standard(self.join_reads(x))[0])

    def decode(self, codes: SparseCodes, x: Activation | None = None) -> Tensor:
        """x̂ = σ · x̂_base + μ. Raises ValueError without x, whose μ and σ these are."""
        if x is None:
            raise ValueError(
                "codes of standardised tokens are decoded with the mean and size of each: decode(codes, x)."
            )
        z, mean, size = standard(self.join_reads(x))
        return size * self.base.join_writes(self.base.decode(codes, z)) + mean

    def encode_at(self, x: Tensor, site: str) -> SparseCodes:
        """Its codes of one of its sites."""
        return Dictionary.encode_at(self, x, site)

    def decode_at(self, codes: SparseCodes, site: str, x: Tensor | None = None) -> Tensor:
        """x̂ at one of its sites."""
        return Dictionary.decode_at(self, codes, site, x)

    def pre_activations(self, x: Activation, latents: Tensor | None = None) -> Tensor | None:
        """The base's u of (x − μ) / σ."""
        return self.base.pre_activations(standard(self.join_reads(x))[0], latents)

    def at(self, site: str | None = None, **changes: Any) -> Dictionary:
        """A view; what can be changed is the base's."""
        return self._around(super().at(site, **changes))

    def on(self, model: Any, site: Any = None) -> Dictionary:
        """A view for another model of equal shape."""
        return self._around(super().on(model, site))

    def _around(self, base: Dictionary) -> StandardisedDictionary:
        view = StandardisedDictionary(replace(self.method, base=base.method), base)
        view.provenance = base.provenance
        return view.train(self.training)

    # -- for training: the base sees standardised batches --------------------------------------------------------------

    def initialise(self, sample: Batch, state: State) -> None:
        """As the base begins."""
        self.base.initialise(_standard_batch(sample), state)

    def loss(self, batch: Batch, state: State) -> Loss:
        """The base's, of standardised tokens; the error of each is told in units of its activations."""
        own = self.base.loss(_standard_batch(batch), state)
        return own._replace(error=own.error * _squared_sizes(batch))

    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        """The base's, with errors in its units."""
        own = loss._replace(error=loss.error / _squared_sizes(batch))
        self.base.after_step(_standard_batch(batch), own, state)

    def finalise(self, recent: Batch, state: State) -> None:
        """As the base ends."""
        self.base.finalise(_standard_batch(recent), state)

    def rescale(self, scales: Mapping[str, float]) -> None:
        """Nothing: of s · x and of x standardised tokens are the same."""

    def codes_scale(self, scales: Mapping[str, float]) -> float:
        """1, whatever the scales."""
        return 1.0


def standard(
    x: Float[Tensor, "*token d"],
) -> tuple[Float[Tensor, "*token d"], Float[Tensor, "*token 1"], Float[Tensor, "*token 1"]]:
    """((x − μ) / σ, μ, σ) of each token over its d values, σ² = Σ (x − μ)² / d; of a constant token about 0."""
    mean = x.mean(-1, keepdim=True)
    away = x - mean
    size = away.square().mean(-1, keepdim=True).sqrt()
    size = torch.maximum(size, LEAST * mean.abs()).clamp_min(SMALLEST)
    return away / size, mean, size


def _standard_batch(batch: Batch) -> Batch:
    """A token's gradient by what is standardised is σ times as large."""
    made = {site: standard(x) for site, x in batch.reads.items()}
    reads = {site: z for site, (z, _, _) in made.items()}
    gradients = batch.gradients and {site: g * made[site][2] for site, g in batch.gradients.items()}
    return replace(batch, reads=reads, writes=reads, gradients=gradients)


def _squared_sizes(batch: Batch) -> Float[Tensor, " n"]:
    """σ² of the counted tokens."""
    (x,) = batch.flat().reads.values()
    return standard(x)[2][..., 0].square()
