"""The number of a latent, as Python, NumPy or torch has it, made a plain int."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from saekit.files.arguments import brief


class NoSuchLatent(IndexError, ValueError):
    """A number that no latent has: as an index it is out of range, as an argument it is a wrong value."""


def latent_number(latent: Any, d_sae: int) -> int:
    """The latent as a plain int. Raises NoSuchLatent for what is no whole number or not in 0 … d_sae − 1."""
    try:
        if isinstance(latent, bool | np.bool_):  # True would be latent 1
            raise TypeError
        number = operator.index(latent)
    except TypeError:
        raise NoSuchLatent(f"a latent is a whole number in 0 … {d_sae - 1}, found {brief(latent)}.") from None
    if not 0 <= number < d_sae:
        closest = 0 if number < 0 else d_sae - 1
        raise NoSuchLatent(f"latent {number} is not in 0 … {d_sae - 1}; the closest is {closest}.")
    return number
