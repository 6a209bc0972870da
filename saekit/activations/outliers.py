"""Tokens of huge norm: a few of them would be most of what a dictionary is trained on.

In some models a handful of tokens (the first of a text, a delimiter) have a hundred times the norm of all others, and
the squared error is almost all theirs. A token is left out where ‖x‖ at one of the sites is above a multiple of the
median ‖x‖ of the tokens beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

AT_ONCE = 2**16  # rows
USUAL = 10.0
"""Times the median norm; on residual streams and what is added to them the largest norm is mostly below eight."""


def norms(x: Tensor) -> Float[Tensor, " n"]:
    """‖x‖ of each row, in float32 whatever x is kept in."""
    return torch.cat([rows.float().norm(dim=1) for rows in x.split(AT_ONCE)])


def usual(found: Mapping[str, Float[Tensor, " n"]], multiple: float | None) -> Bool[Tensor, " n"] | None:
    """True for tokens that stay, from their norms by site; None where all do. A site whose median is 0 has no say."""
    stay = [each <= multiple * median for each in found.values() if (median := each.median()) > 0] if multiple else []
    together = torch.stack(stay).all(0) if stay else torch.tensor(True)
    return None if bool(together.all()) else together


def rows_that_stay(columns: Mapping[str, Tensor], sites: Sequence[str], multiple: float | None) -> Tensor | None:
    """The numbers of the tokens that stay, ascending; None where all do."""
    stay = usual({site: norms(columns[site]) for site in sites}, multiple) if multiple else None
    return None if stay is None else stay.nonzero()[:, 0]


def without_outliers(
    columns: dict[str, Tensor], sites: Sequence[str], multiple: float | None
) -> tuple[dict[str, Tensor], int]:
    """The columns of the tokens that stay, and how many are left out."""
    stay = rows_that_stay(columns, sites, multiple)
    if stay is None:
        return columns, 0
    left_out = len(columns[sites[0]]) - len(stay)
    return {name: column.index_select(0, stay) for name, column in columns.items()}, left_out
