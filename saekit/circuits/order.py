"""In which order features are attributed where not all of them have room: by their influence, as far as edges are
known."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def influence(
    source: Int[np.ndarray, " edges"],
    target: Int[np.ndarray, " edges"],
    weight: Float[np.ndarray, " edges"],
    target_weights: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Σ_{k ≥ 1} w Âᵏ of each node, Â[t, s] = |A[t, s]| / Σ_s |A[t, s]|, w the targets' weights.

    Edges go from earlier layers to later ones, so that there are as many terms as layers."""
    n = len(target_weights)
    size = np.abs(weight)
    share = size / np.bincount(target, size, n)[target]
    current, found = target_weights, np.zeros(n)
    while current.any():
        current = np.bincount(source, share * current[target], n)
        found += current
    return found
