"""What a map of latents is worth: whether those that lie near each other are those that are alike.

Of a point i let U_i be its k nearest on the map. Neighbours kept is the mean share of U_i that are among its k nearest
by cosine. Trustworthiness (Venna and Kaski 2001; scikit-learn has the same formula) says how far off the others are:
T = 1 − 2 / (n k (2n − 3k − 1)) · Σ_i Σ_{j ∈ U_i} max(0, r(i, j) − k), with r(i, j) the rank of j among the neighbours
of i by cosine. A map that is drawn at random keeps k / (n − 1), and its expected T is about .5. Of many points a sample
is asked, against all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

NEIGHBOURS = 10
ASKED = 1000  # points
AT_ONCE = 2**22  # distances


@dataclass(frozen=True)
class Worth:
    """Shares of 1; `by_chance` of a map drawn at random. neighbours: the k of both."""

    neighbours: int
    kept: float
    kept_by_chance: float
    trustworthiness: float
    trustworthiness_by_chance: float

    def __str__(self) -> str:
        return (
            f"Of the {self.neighbours} nearest here {100 * self.kept:.1f} % are among the {self.neighbours} nearest by "
            f"cosine (by chance {100 * self.kept_by_chance:.1f} %). Trustworthiness {self.trustworthiness:.2f} "
            f"(by chance {self.trustworthiness_by_chance:.2f})."
        )


def worth(unit: Float[np.ndarray, "n d"], place: Float[np.ndarray, "n 2"], seed: int = 0) -> Worth | None:
    """Of unit rows and their places on a map; None of fewer than four, of which each is near each."""
    n = len(unit)
    k = min(NEIGHBOURS, (n - 1) // 3)
    if k < 1:
        return None
    asked = np.arange(n) if n <= ASKED else np.sort(np.random.default_rng(seed).choice(n, ASKED, replace=False))
    kept = beyond = 0.0
    step = max(1, AT_ONCE // n)
    for some in np.split(asked, range(step, len(asked), step)):
        alike = unit[some] @ unit.T
        apart = ((place[some, None] - place[None]) ** 2).sum(-1)
        here = np.arange(len(some))
        alike[here, some], apart[here, some] = -np.inf, np.inf  # nobody is a neighbour of itself
        near = np.argpartition(apart, k - 1, axis=1)[:, :k]
        ranks = 1 + (alike[:, None] > np.take_along_axis(alike, near, 1)[:, :, None]).sum(-1)
        kept += float((ranks <= k).sum())
        beyond += float(np.maximum(0, ranks - k).sum())
    scale = 2 / (k * (2 * n - 3 * k - 1))
    by_chance = 1 - scale * k * (n - 1 - k) * (n - k) / (2 * (n - 1))
    return Worth(k, kept / (k * len(asked)), k / (n - 1), 1 - scale * beyond / len(asked), by_chance)
