"""Terms of a loss: functions of plain tensors, a number a token or one for all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PENALTIES = ("l1", "log", "tanh")


def squared_errors(target: Float[Tensor, "n d"], x_hat: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """‖target − x̂‖² of each token."""
    return (target - x_hat).square().sum(-1)


def sparsity(a: Float[Tensor, "n d_sae"], penalty: str = "l1") -> Float[Tensor, " n"]:
    """Σ_i p(a_i) of each token, a_i = z_i ‖d_i‖ ≥ 0: "l1" Σ a_i, "log" Σ ln(1 + a_i), "tanh" Σ tanh(a_i)."""
    return {"l1": lambda a: a, "log": torch.log1p, "tanh": torch.tanh}[penalty](a).sum(-1)


def warm_up(progress: float, share: float = 0.1) -> float:
    """A weight that grows from 0 to 1 over the first share of a run."""
    return min(1.0, progress / share)


def l0_target(l0: Float[Tensor, ""], wanted: float) -> Float[Tensor, ""]:
    """(L0 / L0* − 1)²: pulls the mean number of active latents to a target (Rajamanoharan et al. 2024, arXiv
    2407.14435, section 5)."""
    return (l0 / wanted - 1).square()


def cross_entropy(logits: Float[Tensor, "n d_vocab"], following: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean −log p of the token that follows, in nats."""
    return F.cross_entropy(logits.float(), following)


def divergence(clean: Float[Tensor, "n d_vocab"], logits: Float[Tensor, "n d_vocab"]) -> Float[Tensor, ""]:
    """Mean KL(clean ‖ changed) of the predictions, in nats."""
    changed, clean = logits.float().log_softmax(-1), clean.float().log_softmax(-1)
    return F.kl_div(changed, clean, reduction="batchmean", log_target=True)
