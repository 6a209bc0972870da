"""What a model makes of its logits after the unembedding: a scale (Cohere, Granite), a soft cap (Gemma 2), or nothing.

It is not read from a configuration but from the model's own output: with raw the unembedding's output and v a token of
the vocabulary, ∂ logit_v / ∂ raw_v, by autograd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit.models.one_pass import forward

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

RAW = "unembed.hook_out"
ROWS, POSITIONS = 16, 64  # a row at a time: there is a number for each token of the vocabulary


def mean_slope(
    model: TransformerBridge, tokens: Int[Tensor, "row position"], counted: Bool[Tensor, "row position"]
) -> Float[Tensor, " d_vocab"] | None:
    """∂ logit_v / ∂ raw_v, its mean over the first counted tokens; None where a logit depends on more than raw_v.

    Where it is the same at every token of a row and of the vocabulary, as of a scale, no other rows are run.
    """
    total, number = torch.zeros(()), 0
    for row, mask in zip(tokens[:ROWS, :POSITIONS], counted[:ROWS, :POSITIONS].cpu(), strict=True):
        if not mask.any():
            continue
        found = _slope(model, forward(model, row[None], RAW).kept[RAW], row[None])
        if found is None or bool((found == found.reshape(-1)[0]).all()):
            return None if found is None else found[0, 0]
        total = total + found[0, mask].double().sum(0)
        number += int(mask.sum())
    return (total / number).float() if number else None


def slope_at_zero(model: TransformerBridge) -> Float[Tensor, " d_vocab"] | None:
    """∂ logit_v / ∂ raw_v where every raw_v is 0; None where a logit depends on more than its own raw_v."""
    token = torch.zeros(1, 1, dtype=torch.long)
    found = _slope(model, torch.zeros_like(forward(model, token, RAW).kept[RAW]), token)
    return None if found is None else found[0, 0]


def _slope(model: TransformerBridge, raw: Tensor, tokens: Tensor) -> Float[Tensor, "row position d_vocab"] | None:
    """At each token, on the CPU. raw: what stands in the place of the unembedding's output."""
    raw = raw.detach().requires_grad_()
    logits = forward(model, tokens, replace={RAW: raw}, logits=True, gradients=True).logits
    if logits is None or logits.shape != raw.shape:
        return None
    signs = torch.ones_like(logits)
    signs[..., ::2] = -1
    (slope,) = torch.autograd.grad(logits, raw, torch.ones_like(logits), retain_graph=True)
    (signed,) = torch.autograd.grad(logits, raw, signs)
    return slope.float().cpu() if torch.allclose(slope * signs, signed) else None
