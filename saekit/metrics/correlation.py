"""MCC: how well the directions of a dictionary match those that are known to be there, one to one.

Mean over the pairs of a best one-to-one matching (Hungarian) of |cos| between true and found directions; 1 where every
true direction is found, whatever the order and the sign. Where fewer are found than are true, each one left out counts
0. Source: Sharkey et al. 2022 ("mean max cosine similarity", there without the one-to-one); Hyvärinen and Morioka 2016,
arXiv:1605.06336.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def mcc(true: Float[Tensor, "features d"], found: Float[Tensor, "latents d"]) -> float:
    """Mean correlation coefficient; a direction of length 0 matches nothing.

    true, found: a direction a row.
    Raises ValueError where widths differ or there is no direction."""
    from scipy.optimize import linear_sum_assignment

    if true.ndim != 2 or found.ndim != 2 or true.shape[1] != found.shape[1] or not len(true):
        raise ValueError(
            f"directions are [number, d], both of one width, found {list(true.shape)}, {list(found.shape)}."
        )
    true, found = (each.detach().cpu().double() for each in (true, found))
    true = true / true.norm(dim=1, keepdim=True).clamp_min(1e-12)
    found = found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)
    cosines = (true @ found.T).abs().numpy()
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    return float(cosines[rows, columns].sum() / len(true))
