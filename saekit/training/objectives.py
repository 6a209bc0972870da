"""Objectives: one signature for every loss, ``(x, target, dictionary, dead) → Loss``; register your own by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from saekit_kernels import AuxK, SparseCodes, decode, path_for, reconstruction_loss, top_k
from torch import Tensor

from saekit.dictionaries import Dictionary

AUXK_WEIGHT = 1 / 32


class Loss(NamedTuple):
    """total: what is minimised; error: ‖target − x̂‖² of each token; codes: z."""

    total: Tensor
    error: Tensor
    codes: SparseCodes


Objective = Callable[[Any, Any, Dictionary, Tensor], Loss]
OBJECTIVES: dict[str, Objective] = {}


def find_objective(name: str) -> Objective:
    """The loss registered under a name. Raises ValueError naming those that are."""
    if name not in OBJECTIVES:
        raise ValueError(f"there is no objective {name!r}; registered are {', '.join(map(repr, OBJECTIVES))}.")
    return OBJECTIVES[name]


def objective(name: str) -> Callable[[Objective], Objective]:
    """Register a loss under a name that a configuration's ``objective`` can say."""

    def register(function: Objective) -> Objective:
        OBJECTIVES[name] = function
        return function

    return register


@objective("reconstruction")
def reconstruction(x: Any, target: Any, dictionary: Dictionary, dead: Tensor) -> Loss:
    """Mean over tokens of ‖target − x̂‖² / d_out."""
    codes = dictionary.encode(x)
    residual = dictionary.join_writes(target) - dictionary.join_writes(dictionary.decode(codes))
    error = residual.square().sum(-1)
    return Loss(error.mean() / residual.shape[-1], error.detach(), codes)


@objective("reconstruction + auxk")
def reconstruction_auxk(x: Any, target: Any, dictionary: Any, dead: Tensor) -> Loss:
    """Squared error + 1/32 · AuxK, the squared error with which the k_aux strongest dead latents reconstruct the
    residual e = target − x̂ (no bias, no gradient through e), k_aux a power of two near d/2 (Gao 2024, arXiv
    2406.04093). The weight min(n_dead / k_aux, 1) is sparsify's and SAELens's, not the paper's.
    """
    x, target = dictionary.join_reads(x), dictionary.join_writes(target)
    n_dead = int(dead.sum())
    k_aux = 2 ** round(max(target.shape[-1] / 2, 1)).bit_length() // 2
    auxk = AuxK(dead.nonzero()[:, 0], min(k_aux, n_dead), AUXK_WEIGHT * min(n_dead / k_aux, 1.0)) if n_dead else None
    if path_for(x) == "reference":
        return _step_by_step(x, target, dictionary, auxk)
    with torch.no_grad():
        codes = dictionary.encode(x)
    total, error = reconstruction_loss(
        codes,
        x,
        target,
        dictionary.encoder_directions,
        dictionary.encoder_bias,
        dictionary.decoder_directions,
        dictionary.decoder_bias,
        dictionary.centre is not None,
        auxk,
    )
    return Loss(total, error, codes)


def _step_by_step(x: Tensor, target: Tensor, dictionary: Any, auxk: AuxK | None) -> Loss:
    """The same in plain torch, for comparison."""
    codes = dictionary.encode(x)
    residual = target - dictionary.join_writes(dictionary.decode(codes))
    error = residual.square().sum(-1)
    total = error.mean() / residual.shape[-1]
    if auxk is not None:
        auxiliary = top_k(dictionary.pre_activations(x, auxk.latents), auxk.k)
        missed = residual.detach() - decode(auxiliary, dictionary.decoder_directions[auxk.latents])
        total = total + auxk.weight * missed.square().sum(-1).mean() / residual.shape[-1]
    return Loss(total, error.detach(), codes)


@objective("reconstruction + sparsity")
def reconstruction_sparsity(x: Any, target: Any, dictionary: Any, dead: Tensor) -> Loss:
    """Mean over tokens of (‖target − x̂‖² + λ √d Σ_i p(a_i)) / d, a_i = z_i ‖d_i‖, d = d_out, with the penalty p that
    the configuration names ("l1": a, "log": ln(1 + a), "tanh": tanh a). Inputs have norm near √d, so λ is in units of
    their norm: with "l1" what contributes less than λ/2 of it is not worth a latent. λ grows over the first tenth of
    the run.
    """
    configuration = dictionary.configuration
    z = dictionary.encode_dense(x)
    residual = dictionary.join_writes(target) - z @ dictionary.decoder_directions - dictionary.decoder_bias
    error, d = residual.square().sum(-1), residual.shape[-1]
    a = z * dictionary.decoder_directions.norm(dim=1)
    penalty = {"l1": a, "log": torch.log1p(a), "tanh": torch.tanh(a)}[configuration.sparsity].sum(-1)
    weight = configuration.sparsity_weight * min(1.0, 10 * dictionary.progress)
    total = error.mean() / d + weight * penalty.mean() / d**0.5
    return Loss(total, error.detach(), SparseCodes.from_dense(z.detach()))
