"""L0, density and dead latents. All count z ≠ 0, signed codes too; stored zeros do not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import Coded
from saekit.metrics.metric import Metric, Number

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class Sparse:
    """How sparse codes are: l0, density [d_sae] and the share of dead latents."""

    l0: float
    density: Float[Tensor, " d_sae"]

    def __repr__(self) -> str:
        dead, n = int((self.density == 0).sum()), len(self.density)
        return f"Sparse(l0={self.l0:.4g}, dead {dead:,} of {n:,} ({100 * self.dead:.1f} %), density: a tensor [{n}])"

    @property
    def dead(self) -> float:
        """Share of latents that never fire."""
        return float((self.density == 0).double().mean())

    @property
    def numbers(self) -> list[Number]:
        """L0 and dead."""
        n = len(self.density)
        count = f"{int((self.density == 0).sum()):,} of {n:,}"
        silent = f"share: {count} latents never fire here"
        return [
            Number("L0", self.l0, "mean number of latents with z ≠ 0 a counted token", 2, f"of {n:,} latents a token"),
            Number(
                "dead",
                self.dead,
                f"share of latents with z ≠ 0 on none of the counted tokens, here {count}",
                beside=silent,
            ),
        ]


class Sparsity(Metric):
    """Counts the firings of each latent."""

    def begin(self, model: TransformerBridge, dictionary: Dictionary, concepts: Sequence[str]) -> None:
        """No latent has fired yet."""
        self.fired, self.n = torch.zeros(dictionary.d_sae, dtype=torch.int64), 0

    def update(self, batch: Coded) -> None:
        """Count what fires."""
        codes = batch.codes
        self.fired += torch.bincount(codes.indices[codes.values != 0].long(), minlength=codes.d_sae).cpu()
        self.n += len(codes)

    def result(self) -> Sparse:
        """Of all tokens so far."""
        return Sparse(int(self.fired.sum()) / self.n, self.fired.double() / self.n)


def l0(codes: SparseCodes) -> float:
    """Mean number of non-zero latents a token.

    codes: z of the tokens."""
    return float(codes.l0.sum().cpu().double() / (len(codes.offsets) - 1))


def density(codes: SparseCodes) -> Float[Tensor, " d_sae"]:
    """Share of tokens on which each latent fires.

    codes: z of the tokens."""
    fired = torch.bincount(codes.indices[codes.values != 0].long(), minlength=codes.d_sae)
    return fired.cpu().double() / (len(codes.offsets) - 1)


def dead(codes: SparseCodes) -> float:
    """Share of latents that fire on none of these tokens.

    codes: z of the tokens."""
    return float((density(codes) == 0).double().mean())
