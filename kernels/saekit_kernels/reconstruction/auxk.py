"""AuxK (Gao et al. 2024, arXiv 2406.04093): dead latents learn the residual of the others.

The dead are few against all latents, and k of them a token are many against the k of the codes (d/2 or so), so products
with their rows alone are faster than any sparse way: 10 · n · d · n_dead operations, forward and back. Which of the
tokens and which of the dead take part in a step is the caller's to say.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_BYTES = {"cpu": 32 * 2**20, "cuda": 2**28}
"""Of a tensor [tokens, n_dead] at a time, of which three or four are held; half the latents may be dead."""


class AuxK(NamedTuple):
    """latents: the dead that learn, [n_dead] int64; k: how many of them take part a token; weight: of the auxiliary
    error. Its mean over all tokens is estimated by every ``every``-th from ``start`` on, each counted ``every`` times.
    """

    latents: Int[Tensor, " dead"]
    k: int
    weight: float
    start: int = 0
    every: int = 1

    def tokens(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "m d"]:
        """The rows that count."""
        return x[self.start :: self.every]


class DeadRows(NamedTuple):
    """What AuxK gives the rows of the dead: gradients, beside which the codes give them none."""

    latents: Int[Tensor, " dead"]
    encoder: Float[Tensor, "dead d_in"]
    encoder_bias: Float[Tensor, " dead"]
    decoder: Float[Tensor, "dead d_out"]


def dead_error(
    read: Float[Tensor, "n d_in"],
    residual: Float[Tensor, "n d_out"],
    encoder: Float[Tensor, "d_sae d_in"],
    bias: Float[Tensor, " d_sae"],
    decoder: Float[Tensor, "d_sae d_out"],
    auxk: AuxK,
    scale: Float[Tensor, ""],
    product: torch.dtype,
) -> tuple[Float[Tensor, ""], DeadRows]:
    """weight · mean of ‖e − ê‖² / d_out, e the residual, and its gradients; scale: −2 / (n d_out), n all tokens.

    Of the tensors [n, n_dead] that it needs, those of as many tokens are held at a time as CHUNK_BYTES allows."""
    read, residual, scale = auxk.tokens(read), auxk.tokens(residual), scale * (auxk.every * auxk.weight)
    of_encoder, of_bias, of_decoder = (part.index_select(0, auxk.latents) for part in (encoder, bias, decoder))
    rows = (of_encoder, of_bias, of_decoder)
    squares, sums = [], list[Tensor]()
    tokens = max(1, CHUNK_BYTES.get(read.device.type, 2**28) // (len(auxk.latents) * read.itemsize))
    for start in range(0, len(read), tokens):
        part = slice(start, start + tokens)
        missed, found = _part(read[part], residual[part], *rows, auxk.k, scale, product)
        squares.append(missed.square().sum())
        sums = [total.add_(more) for total, more in zip(sums, found, strict=True)] if sums else found
    return torch.stack(squares).sum() * (scale / -2), DeadRows(auxk.latents, *sums)


def _part(
    read: Tensor,
    residual: Tensor,
    encoder: Tensor,
    bias: Tensor,
    decoder: Tensor,
    k: int,
    scale: Tensor,
    product: torch.dtype,
) -> tuple[Tensor, list[Tensor]]:
    """e − ê of some tokens, and what they add to the gradients; of the parameters only the rows of the dead."""
    dead = _dead_codes(read, encoder, bias, k, product)
    missed = residual - _times(dead, decoder, product)
    gradient = missed * scale
    of_dead = _times(gradient, decoder.T, product).masked_fill_(dead <= 0, 0)
    return missed, [_times(of_dead.T, read, product), of_dead.sum(0), _times(dead.T, gradient, product)]


def _dead_codes(read: Tensor, encoder: Tensor, bias: Tensor, k: int, product: torch.dtype) -> Tensor:
    """Dense codes of the dead [n, n_dead], zero but for the k largest positive ones of a row."""
    u = _times(read, encoder.T, product).add_(bias).relu_()
    if k < u.shape[1]:
        # The k-th largest says who stays; of equals at that value all do, and what is zero adds nothing.
        least = u.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
        u.masked_fill_(u < least, 0)
    return u


def _times(a: Tensor, b: Tensor, product: torch.dtype) -> Tensor:
    """a @ b, its factors in the dtype of products. A sum over thousands of tokens should not end in the 8 bits of
    bfloat16: a GPU writes float32 by itself, which torch offers on CUDA alone."""
    if a.is_cuda and a.dtype == torch.float32 and product in (torch.bfloat16, torch.float16):
        return torch.mm(a.to(product), b.to(product), out_dtype=torch.float32)
    return (a.to(product) @ b.to(product)).to(a.dtype)
