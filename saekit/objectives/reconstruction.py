"""Reconstruction: the squared error of any dictionary, and with AuxK, whose fused kernel is chosen here.

AuxK (Gao et al. 2024, arXiv 2406.04093): the k_aux strongest dead latents reconstruct the residual e = target − x̂, no
bias, no gradient through e, k_aux a power of two near d/2. The weight min(n_dead / k_aux, 1) is sparsify's and
SAELens's, not the paper's.

Not the paper's either is what bounds its cost, which with half of the latents dead was more than all else in a step: it
takes every fourth token and 8 · k_aux of the dead, in turn, so that four steps have taken every place of a batch, and
n_dead / (8 · k_aux) steps every dead latent. Beside all of both explained variance on stories260K and micro is the
same within .001, and at most .002 more of the latents never fire (`kernels/benchmarks/training_quality.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from saekit_kernels import (
    AuxK,
    SparseCodes,
    decode,
    path_for,
    reconstruction_loss,
    reconstruction_rows,
    top_k,
)
from torch import Tensor

from saekit.objectives.batch import Batch, Loss, RowGradient, State
from saekit.objectives.terms import squared_errors

AUXK_WEIGHT = 1 / 32
AUXK_EVERY = 4
"""Step t of AuxK takes the tokens t mod 4, t mod 4 + 4, … of a batch, each of which counts four times."""
AUXK_TOKENS = 256
"""It takes as many at least, so that batches of less than 1,024 are thinned out less: the fewer it takes, the more of
planted dead latents stay dead."""
AUXK_DEAD = 8
"""Times k_aux: of more dead latents step t takes as many, those of the ranks t · 8 · k_aux, … mod n_dead."""


class Coder(Protocol):
    """What these terms ask of a dictionary."""

    @property
    def encoder_directions(self) -> Any:
        """[d_sae, d_in]; None where there is no row a latent."""

    @property
    def encoder_bias(self) -> Any:
        """[d_sae], or None."""

    @property
    def decoder_directions(self) -> Any:
        """[d_sae, d_out]; None where there is no row a latent."""

    @property
    def decoder_bias(self) -> Any:
        """[d_out], or None."""

    @property
    def signed(self) -> bool:
        """Whether codes may be negative."""
        ...

    @property
    def fused(self) -> bool:
        """Whether the fused kernels compute what ``encode`` and ``decode`` do."""
        ...

    @property
    def centre(self) -> Tensor | None:
        """What is subtracted before encoding, [d_in]."""

    def encode(self, x: Any) -> SparseCodes:
        """z of activations, a tensor or a mapping from site."""
        ...

    def decode(self, codes: SparseCodes, x: Any = None) -> Any:
        """x̂, a tensor or a mapping from site."""

    def pre_activations(self, x: Any, latents: Tensor | None = None) -> Tensor | None:
        """u of all latents, or of a few, [n, m]; None where a method has none."""

    def join_reads(self, x: Any) -> Tensor:
        """[n, d_in], the sites read one after the other."""
        ...

    def join_writes(self, x: Any) -> Tensor:
        """[n, d_out], the sites written one after the other."""
        ...


def squared_error(dictionary: Coder, batch: Batch) -> Loss:
    """Mean over tokens of ‖target − x̂‖² / d_out."""
    batch = batch.flat()
    target, codes = dictionary.join_writes(batch.writes), dictionary.encode(batch.reads)
    error = squared_errors(target, dictionary.join_writes(dictionary.decode(codes, batch.reads)))
    return Loss(error.mean() / target.shape[-1], error.detach(), codes)


def reconstruction_auxk(dictionary: Coder, batch: Batch, state: State, weight: float = AUXK_WEIGHT) -> Loss:
    """Squared error + weight · min(n_dead / k_aux, 1) · mean ‖e − ê‖² / d_out; of signed codes by the largest |u|.

    That mean is of every ``AUXK_EVERY``-th token, and ê is made of ``AUXK_DEAD`` · k_aux of the dead at most, others in
    each step. Where the dictionary is a plain linear one (``fused``) the kernels for it run; anything else goes through
    its own ``encode`` and ``decode``, so that nothing can be trained but what these say.
    """
    shuffled, batch = batch.rows is None, batch.flat()
    target = dictionary.join_writes(batch.writes)
    auxk = _auxk(state, target, shuffled, weight)
    if not dictionary.fused or path_for(target) == "reference":
        return _step_by_step(dictionary, batch.reads, target, auxk)
    x = dictionary.join_reads(batch.reads)
    with torch.no_grad():
        codes = dictionary.encode(x) if batch.codes is None else batch.codes
    given = (
        codes,
        x,
        target,
        dictionary.encoder_directions,
        dictionary.encoder_bias,
        dictionary.decoder_directions,
        dictionary.decoder_bias,
    )
    centred = dictionary.centre is not None
    if not state.row_gradient:
        total, error = reconstruction_loss(*given, centred, auxk)
        return Loss(total, error, codes)
    made = reconstruction_rows(*given, centred, auxk)
    rows = RowGradient(codes, made.read, made.g, centred, made.dead)
    return Loss(made.total, made.error, codes, row_gradient=rows)


def _auxk(state: State, target: Tensor, shuffled: bool, weight: float) -> AuxK | None:
    """Which of the dead learn in this step, and from which tokens; None: none do."""
    if state.dead is None or not weight:
        return None
    n_dead = int(state.dead.sum()) if state.n_dead is None else state.n_dead
    if not n_dead:
        return None
    k_aux = 2 ** round(max(target.shape[-1] / 2, 1)).bit_length() // 2
    latents, most = _numbers(state.dead, n_dead), AUXK_DEAD * k_aux
    if n_dead > most:
        latents = latents.roll(-(state.step * most % n_dead))[:most]
    first, n = state.part or (0, len(target))
    # The tokens of a batch of rows of text are not shuffled: all of them.
    every = max(1, min(AUXK_EVERY, n // AUXK_TOKENS)) if shuffled else 1
    k, weight = min(k_aux, n_dead), weight * min(n_dead / k_aux, 1.0)
    return AuxK(latents, k, weight, (state.step - first) % every, every)


def _numbers(dead: Tensor, n_dead: int) -> Tensor:
    """The latents for which ``dead`` is True, ascending; to know that they are n_dead saves waiting for a GPU."""
    return (dead.nonzero() if dead.device.type == "mps" else torch.nonzero_static(dead, size=n_dead))[:, 0]


def _step_by_step(dictionary: Coder, x: Mapping[str, Tensor], target: Tensor, auxk: AuxK | None) -> Loss:
    """In plain torch, through whatever the dictionary's own functions are."""
    codes = dictionary.encode(x)
    residual = target - dictionary.join_writes(dictionary.decode(codes, x))
    error = residual.square().sum(-1)
    total = error.mean() / residual.shape[-1]
    if auxk is not None:
        u = dictionary.pre_activations({site: auxk.tokens(h) for site, h in x.items()}, auxk.latents)
        rows = dictionary.decoder_directions
        if u is None or rows is None:
            raise ValueError(
                "AuxK needs pre-activations and a decoder with a row a latent, which "
                f"{type(dictionary).__name__} lacks: use the squared error alone."
            )
        auxiliary = _largest(u, auxk.k) if dictionary.signed else top_k(u, auxk.k)
        missed = auxk.tokens(residual.detach()) - decode(auxiliary, rows[auxk.latents])
        total = total + auxk.weight * auxk.every * missed.square().sum() / residual.numel()
    return Loss(total, error.detach(), codes)


def _largest(u: Tensor, k: int) -> SparseCodes:
    """The k entries of a row with the largest |u|, with their signs."""
    latents = u.detach().abs().topk(k, dim=-1).indices
    return SparseCodes.from_topk(u.gather(-1, latents), latents, u.shape[-1])
