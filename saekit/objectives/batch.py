"""What a loss is given and what it gives: Batch, State, Loss.

They know tensors and names of sites, no dictionary, so that the terms of a loss stand below the dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from saekit_kernels import DeadRows, SparseCodes
from torch import Tensor

NEEDS = ("rows", "gradients", "labels", "models")
"""What a method may ask of a batch beside activations."""
NOTHING: Mapping[str, Tensor] = MappingProxyType({})


class Rows(NamedTuple):
    """The texts a batch of rows comes from, as the model gets them; padding stands on the right.

    predicts: True where a counted token is followed by one of its text, so that the model's prediction can be judged.
    """

    tokens: Int[Tensor, "row position"]
    mask: Bool[Tensor, "row position"]
    predicts: Bool[Tensor, "row position"]


@dataclass(frozen=True)
class Batch:
    """Activations of the same tokens at the sites a dictionary reads and writes, divided by each site's scale.

    reads, writes: [n, d] by site; [row, position, d] where the method needs "rows". With ``Wiring.each`` the tokens of
               all sites are rows of one tensor, at the first site's name.
    rows:      their tokens and mask; of a method that needs "rows", else None.
    gradients: ∂L/∂x by site read, L the mean cross-entropy of a row's next tokens in the clean run; "gradients".
    labels:    [n, concepts] (or [row, position, concepts]), 1 where a token lies in the concept; "labels".
    models:    by name, "" where there is one; "models".
    codes:     z of these reads, where they are known already (of a layer of a cross-layer dictionary).
    """

    reads: Mapping[str, Tensor]
    writes: Mapping[str, Tensor]
    rows: Rows | None = None
    gradients: Mapping[str, Tensor] | None = None
    labels: Float[Tensor, "*n concepts"] | None = None
    models: Mapping[str, Any] | None = None
    codes: SparseCodes | None = None

    @classmethod
    def of(cls, x: Tensor | Mapping[str, Tensor], target: Tensor | Mapping[str, Tensor] | None = None) -> Batch:
        """Plain arrays as a batch: a tensor is that of the one site "x"."""
        reads = x if isinstance(x, Mapping) else {"x": x}
        if target is None:
            return cls(reads, reads)
        return cls(reads, target if isinstance(target, Mapping) else {"x": target})

    def flat(self) -> Batch:
        """Of rows the counted tokens alone, [n, d]; any other batch is itself."""
        if self.rows is None:
            return self
        mask = self.rows.mask
        reads, writes = ({site: x[mask] for site, x in each.items()} for each in (self.reads, self.writes))
        gradients = None if self.gradients is None else {site: x[mask] for site, x in self.gradients.items()}
        labels = None if self.labels is None else self.labels[mask]
        return replace(self, reads=reads, writes=writes, rows=None, gradients=gradients, labels=labels)


@dataclass
class State:
    """What a loss may know of the run it is a step of.

    step, steps, tokens: the step to be made, from 0; how many there are; tokens seen before it.
    scales:  what each site's activations were divided by.
    dead:    [d_sae], True for latents silent for longer than the run's dead window; None: not known.
    n_dead:  how many these are, where the host knows it; None: to be counted, for which a GPU is waited for.
    part:    (first, n): the batch's rows are those from ``first`` on of the n that all processes take together; None:
             all of them.
    density: [d_sae], share of tokens in which each latent fired, an exponential mean over about 100 batches.
    memory:  a method's own running numbers; kept in the checkpoint, not in the saved dictionary.
    row_gradient: the learner takes a ``RowGradient``; without it a loss has its whole gradient in ``total``.
    """

    step: int = 0
    steps: int = 1
    tokens: int = 0
    scales: Mapping[str, float] = field(default_factory=dict)
    dead: Bool[Tensor, " d_sae"] | None = None
    n_dead: int | None = None
    part: tuple[int, int] | None = None
    density: Float[Tensor, " d_sae"] | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)
    seed: int = 0
    row_gradient: bool = False

    @property
    def progress(self) -> float:
        """How far training is, 0 to 1."""
        return self.step / self.steps

    def random(self, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator for this step: the same after a resume."""
        return torch.Generator(device).manual_seed(self.seed * 1_000_003 + 15_485_863 + self.step)


class RowGradient(NamedTuple):
    """The gradient of a loss in the rows of a linear encoder and decoder, before it is summed up by latent.

    Latent f's decoder row has Σ_t z_tf g_t, its encoder row Σ_t s_tf x_t, its bias Σ_t s_tf, with s_tf = ⟨g_t, d_f⟩ on
    the support of z. One kernel can sum, project, step and normalise a row at a time; see ``add_row_gradient``.

    codes: z; read: [n, d_in], what the encoder's product was made of (the decoder's bias b taken away where
    ``centred``); g: [n, d_out], ∂L/∂x̂; dead: what AuxK gives the dead beside it.
    """

    codes: SparseCodes
    read: Float[Tensor, "n d_in"]
    g: Float[Tensor, "n d_out"]
    centred: bool
    dead: DeadRows | None = None


class Loss(NamedTuple):
    """total: what is minimised, a scalar; error: ‖target − x̂‖² of each token, without gradient; codes: z.

    parts: further numbers to be logged, by name (auxk, l0, λ); kept: tensors for ``after_step``, not logged.
    row_gradient: where it is given, ``total`` has no gradient of its own in the encoder's and decoder's rows: the
    learner makes it from this.
    """

    total: Float[Tensor, ""]
    error: Float[Tensor, " n"]
    codes: SparseCodes
    parts: Mapping[str, Tensor | float] = NOTHING
    kept: Mapping[str, Tensor] = NOTHING
    row_gradient: RowGradient | None = None
