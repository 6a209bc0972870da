"""Linear parts: u = W_enc (x − c) + b_enc, and x̂ = Σ_i z_i d_i + b_dec (+ W_skip x).

c is the decoder's bias where a dictionary writes what it reads, and nothing where it writes elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes, decode
from torch import Tensor, nn

from saekit.dictionaries.parts.part import Part

BLOCK = 2**18
"""Numbers of the rows that are projected at a time: what is read twice is still in a processor's cache."""


class LinearEncoder(Part):
    """Directions [d_sae, d_in], the columns of the sites read one after the other (``widths``), and a bias [d_sae]."""

    def __init__(self, directions: Float[Tensor, "d_sae d_in"], widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.directions = nn.Parameter(directions)
        self.bias = nn.Parameter(torch.zeros(len(directions)))

    @classmethod
    def random(cls, d_sae: int, widths: Sequence[int]) -> LinearEncoder:
        """Normal directions of mean square 1 / d_in."""
        return cls(torch.randn(d_sae, sum(widths)) / sum(widths) ** 0.5, widths)

    def forward(
        self, x: Float[Tensor, "*shape d_in"], centre: Float[Tensor, " d_in"] | None, latents: Tensor | None = None
    ) -> Float[Tensor, "*shape m"]:
        """u of all latents, or of a few."""
        directions: Tensor = self.directions
        bias: Tensor = self.bias
        if latents is not None:
            directions, bias = directions[latents], bias[latents]
        return nn.functional.linear(x if centre is None else x - centre, directions, bias)

    @torch.no_grad()
    def rescale(self, reads: Sequence[float], writes: Sequence[float], codes: float) -> None:
        """Columns of a site s read times codes / scale_s, the bias times codes."""
        for columns, scale in zip(self.directions.split(self.widths, dim=1), reads, strict=True):
            columns.mul_(codes / scale)
        self.bias.mul_(codes)


class LinearDecoder(Part):
    """Directions [d_sae, d_out], the columns of the sites written one after the other (``widths``), and a bias [d_out].

    unit_norm: rows have norm 1 while it trains, and the gradient along a row is taken away, which would only change
               that norm and swell Adam's moments.
    skip:      [d_out, d_in], a linear way past the latents (Paulo et al. 2025, arXiv 2501.18823), where ``skip_from``
               has the widths of the sites read; else None.
    """

    def __init__(
        self,
        directions: Float[Tensor, "d_sae d_out"],
        widths: Sequence[int],
        unit_norm: bool = True,
        skip_from: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.widths, self.skip_from, self.unit_norm = list(widths), list(skip_from or []), unit_norm
        self.directions = nn.Parameter(directions)
        d_out = directions.shape[1]
        self.bias = nn.Parameter(torch.zeros(d_out))
        self.skip = None if skip_from is None else nn.Parameter(torch.zeros(d_out, sum(self.skip_from)))

    @classmethod
    def random(cls, d_sae: int, widths: Sequence[int], **settings: Any) -> LinearDecoder:
        """Rows of norm 1 in random directions."""
        directions = torch.randn(d_sae, sum(widths))
        directions /= directions.norm(dim=1, keepdim=True)
        return cls(directions, widths, **settings)

    def forward(
        self, codes: SparseCodes, x: Float[Tensor, "*shape d_in"] | None = None
    ) -> Float[Tensor, "*shape d_out"]:
        """x̂ = Σ_i z_i d_i + b_dec (+ W_skip x). Raises ValueError where there is a skip and no x."""
        x_hat = decode(codes, self.directions, self.bias)
        if self.skip is None:
            return x_hat
        if x is None:
            raise ValueError("this dictionary adds a linear map of what it reads to what it decodes: decode(codes, x).")
        return x_hat + nn.functional.linear(x, self.skip)

    def row_norms(self) -> Float[Tensor, " d_sae"]:
        """‖d_i‖, of several sites Σ_s ‖d_i^s‖."""
        norms = [part.norm(dim=1) for part in self.directions.split(self.widths, dim=1)]
        return norms[0] if len(norms) == 1 else torch.stack(norms).sum(0)

    @torch.no_grad()
    def before_step(self) -> None:
        """Take away the gradient along each row, where rows have norm 1."""
        rows = self.directions
        if self.unit_norm and rows.grad is not None:
            block = max(1, BLOCK // rows.shape[1])
            for gradient, row in zip(rows.grad.split(block), rows.detach().split(block), strict=True):
                along = (gradient * row).sum(1, keepdim=True)
                gradient.addcmul_(row, along, value=-1)

    @torch.no_grad()
    def after_step(self) -> None:
        """Give the rows norm 1 again."""
        if self.unit_norm:
            self.directions.div_(self.directions.norm(dim=1, keepdim=True).clamp_min(1e-12))

    @torch.no_grad()
    def rescale(self, reads: Sequence[float], writes: Sequence[float], codes: float) -> None:
        """Columns and bias of a site s written times scale_s, the columns divided by codes; the skip's rows times
        scale_s, its columns divided by the scales of the sites read."""
        of_directions, of_bias = self.directions.split(self.widths, dim=1), self.bias.split(self.widths)
        for columns, bias, scale in zip(of_directions, of_bias, writes, strict=True):
            columns.mul_(scale / codes)
            bias.mul_(scale)
        if self.skip is not None:
            for rows, scale in zip(self.skip.split(self.widths), writes, strict=True):
                rows.mul_(scale)
            for columns, scale in zip(self.skip.split(self.skip_from, dim=1), reads, strict=True):
                columns.div_(scale)
