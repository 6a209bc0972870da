"""coded: the one loop that encodes many activations, a few thousand tokens at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries.dictionary import Dictionary

TOKENS_AT_ONCE = 4096
"""[token, d_sae] before the selection is large."""


@dataclass(frozen=True, eq=False)
class Coded:
    """n tokens and their codes.

    x:      the activations by site, [n, d], on the dictionary's device and in its precision.
    codes:  z, n rows.
    beside: what came with the activations under other names, [n, …].
    """

    dictionary: Dictionary
    x: Mapping[str, Float[Tensor, "n d"]]
    codes: SparseCodes
    beside: Mapping[str, Shaped[Tensor, "n ..."]]

    @cached_property
    def target(self) -> Float[Tensor, "n d_out"]:
        """What the reconstruction stands for: the activations at the sites written, one after the other."""
        return self.dictionary.join_writes({site: self.x[site] for site in self.dictionary.writes})

    @cached_property
    def x_hat(self) -> Float[Tensor, "n d_out"]:
        """The reconstruction, sites one after the other; made once, when first asked for."""
        with torch.no_grad():
            return self.dictionary.join_writes(self.dictionary.decode(self.codes, self.x))


@torch.no_grad()
def coded(
    dictionary: Dictionary, batches: Iterable[Mapping[str, Shaped[Tensor, "n ..."]]], tokens: int = TOKENS_AT_ONCE
) -> Iterator[Coded]:
    """Codes of activations that come in batches of any size, ``tokens`` tokens at a time, without gradients.

    batches: columns by name, [n, …] each: activations under the names of their sites, and whatever travels with them.
    Of a dictionary for each of several sites, those of one of them.
    Raises ValueError for codes that are NaN or infinite.
    """
    sites = {*dictionary.reads, *dictionary.writes}
    for columns in _regrouped(batches, tokens):
        x = dictionary.take({name: column for name, column in columns.items() if name in sites})
        codes = dictionary.encode(x)
        if not bool(torch.isfinite(codes.values).all()):
            raise ValueError("the dictionary's codes are NaN or infinite where activations are not: check its weights.")
        yield Coded(dictionary, x, codes, {name: column for name, column in columns.items() if name not in sites})


def _regrouped(batches: Iterable[Mapping[str, Tensor]], size: int) -> Iterator[dict[str, Tensor]]:
    """The same rows in batches of ``size``; the last may be smaller."""
    waiting: list[dict[str, Tensor]] = []
    count = 0
    for batch in batches:
        n, start = len(next(iter(batch.values()))), 0
        while start < n:
            stop = min(n, start + size - count)
            waiting.append({name: column[start:stop] for name, column in batch.items()})
            count, start = count + stop - start, stop
            if count == size:
                yield _joined(waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
