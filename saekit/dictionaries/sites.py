"""A dictionary's activations by site: joined, checked, and their scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saekit.dictionaries.wiring import Wiring
from saekit.files.arguments import brief


def single(widths: Mapping[str, int], name: str, each: bool = False) -> tuple[str, int]:
    """The one site and its width; of a dictionary for each of several equally wide sites any. Raises ValueError."""
    if len(widths) != 1 and not each:
        raise ValueError(f"{name} is for dictionaries of a single site; this one has {', '.join(widths)}.")
    return next(iter(widths.items()))


def join(x: Tensor | Mapping[str, Tensor], widths: Mapping[str, int], what: str, each: bool = False) -> Tensor:
    """Activations as one tensor, sites one after the other; of ``each`` those of the one site there is. NumPy's arrays
    become float32."""
    x = {site: _tensor(one) for site, one in x.items()} if isinstance(x, Mapping) else _tensor(x)
    if each:
        if isinstance(x, Mapping):
            there = [site for site in widths if site in x]
            if len(there) != 1:
                raise ValueError(
                    f"the dictionary {what} one of {', '.join(widths)} at a time, found {', '.join(there) or 'none'}: "
                    "give the activations of one site."
                )
            x = x[there[0]]
        widths = dict(list(widths.items())[:1])
    if isinstance(x, Mapping):
        missing = [site for site in widths if site not in x]
        if missing:
            raise ValueError(f"the dictionary {what} {missing[0]!r}, which is not among {', '.join(x)}.")
        for site, width in widths.items():
            if x[site].shape[-1] != width:
                raise ValueError(f"the dictionary {what} {width} values at {site!r}, found {x[site].shape[-1]}.")
        return torch.cat([x[site] for site in widths], dim=-1) if len(widths) > 1 else x[next(iter(widths))]
    if x.shape[-1] != sum(widths.values()):
        raise ValueError(
            f"the dictionary {what} activations of width {sum(widths.values())} ({', '.join(widths)}), "
            f"found width {x.shape[-1]} in shape {tuple(x.shape)}."
        )
    return x


def _tensor(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf":
        raise TypeError(f"activations are a tensor or an array of numbers, found {brief(x)}.")
    return torch.tensor(x, dtype=torch.float32)


def widths_of(names: Sequence[str], wiring: Wiring, widths: Mapping[str, int]) -> list[int]:
    """The widths that an encoder or a decoder of these sites is made of: one where it is for each of them."""
    return [widths[site] for site in names][: 1 if wiring.each else None]


def check_one_site(dictionary: Any) -> None:
    """Raise ValueError for a dictionary that is for each of several sites where one of them must be meant."""
    if dictionary.wiring.each and len(dictionary.reads) > 1:
        raise ValueError(
            f"this dictionary is for each of {', '.join(dictionary.reads)}: take "
            f"sae.at(site={str(dictionary.reads[0])!r}) or another of them."
        )
