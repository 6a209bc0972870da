"""Near misses: silent tokens where a latent's pre-activation u was largest, at most one a document.

They tell what a latent refuses. u is the dictionary's own where it has one (`pre_activations`), else the product of the
activation with the encoder row (or, of a dictionary without such rows, with the decoder row), whose constant does not
change the order; of signed codes it is |u|. Each is given as
the distance of u from that of the latent's weakest firing. Where tokens keep their k largest alone it may be above 0:
as strong as on some tokens where the latent fired, but here k others were stronger.
"""

from __future__ import annotations

import numpy as np
import torch
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries import Dictionary

MOST = 10  # a latent
FEWEST = 16  # tokens in a product: one of 5 to 11 is rounded otherwise by several threads


def pre_activations(dictionary: Dictionary, x: dict[str, Tensor]) -> Tensor:
    """u [token, d_sae], of signed codes its size."""
    count = len(next(iter(x.values())))
    x = {site: torch.nn.functional.pad(h, (0, 0, 0, max(0, FEWEST - count))) for site, h in x.items()}
    u = dictionary.pre_activations(x)
    if u is None:
        rows = dictionary.encoder_directions
        rows = dictionary.decoder_directions if rows is None else rows  # a pursuit reads with what it writes
        u = dictionary.join_reads(x) @ rows.T
    u = u[:count]
    return u.abs() if dictionary.signed else u


class NearMisses:
    """The best so far: values [d_sae, MOST] (−∞ where there are fewer), places, and each latent's weakest firing."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.values = torch.full((dictionary.d_sae, MOST), -torch.inf)
        self.places = torch.full((dictionary.d_sae, MOST), -1)
        self.weakest = torch.full((dictionary.d_sae,), torch.inf)
        self.open: tuple[int, Tensor, Tensor] | None = None  # the document being read, its best values and places

    @torch.no_grad()
    def add(self, x: dict[str, Tensor], codes: SparseCodes, documents: Tensor, places: Tensor) -> None:
        """Counted tokens in order, with the document and the place of each."""
        counts = torch.unique_consecutive(documents, return_counts=True)[1].tolist()
        start = 0
        for count in counts:
            part = slice(start, start + count)
            u = pre_activations(self.dictionary, {site: h[part] for site, h in x.items()}).float().cpu()
            begin, end = int(codes.offsets[start]), int(codes.offsets[start + count])
            fired = codes.values[begin:end] != 0
            latents = codes.indices[begin:end][fired].long()
            rows = codes.rows[begin:end][fired] - start
            self.weakest.scatter_reduce_(0, latents, u[rows, latents], "amin")
            u[rows, latents] = -torch.inf
            self._document(int(documents[start]), u, places[part])
            start += count

    @torch.no_grad()
    def add_apart(self, x: dict[str, Tensor], codes: SparseCodes, places: Tensor) -> None:
        """Rows that are each a document of their own, all at once; of equals the first stay."""
        u = pre_activations(self.dictionary, x).float().cpu()
        fired = codes.values != 0
        latents, rows = codes.indices[fired].long(), codes.rows[fired]
        self.weakest.scatter_reduce_(0, latents, u[rows, latents], "amin")
        u[rows, latents] = -torch.inf
        values = torch.cat([self.values, u.T], dim=1)
        at = torch.cat([self.places, places.expand(len(values), -1)], dim=1)
        order = values.sort(dim=1, descending=True, stable=True).indices[:, :MOST]
        self.values, self.places = values.gather(1, order), at.gather(1, order)

    def _document(self, document: int, u: Tensor, places: Tensor) -> None:
        best = u.amax(0)
        if self.open is not None and self.open[0] == document:  # a long document comes in several rows
            former = self.open
            at = self._argmax(u, places, best)
            better = best > former[1]
            self.open = (document, torch.where(better, best, former[1]), torch.where(better, at, former[2]))
            return
        self._close()
        self.open = (document, best, self._argmax(u, places, best))

    def _argmax(self, u: Tensor, places: Tensor, best: Tensor) -> Tensor:
        """The place of each latent's best, only where it could be kept."""
        at = torch.full_like(self.places[:, 0], -1)
        hopeful = (best > self.values.amin(1)).nonzero()[:, 0]
        at[hopeful] = places[u[:, hopeful].argmax(0)] if len(hopeful) else at[hopeful]
        return at

    def _close(self) -> None:
        if self.open is None:
            return
        _, best, at = self.open
        self.open = None
        latents = ((best > self.values.amin(1)) & (at >= 0)).nonzero()[:, 0]
        values = self.values[latents]
        # The least goes; of equals the one that came last, so that chunks do not matter.
        where = torch.where(values == values.amin(1, keepdim=True), self.places[latents], -2).argmax(1)
        self.values[latents, where] = best[latents]
        self.places[latents, where] = at[latents]

    def tensors(self) -> dict[str, Tensor]:
        """What a chunk keeps: near_value and near_place [d_sae, MOST], weakest [d_sae]."""
        self._close()
        return {"near_value": self.values, "near_place": self.places.int(), "weakest": self.weakest}


def merged(chunks: list[dict[str, np.ndarray]], bases: np.ndarray, first: int, last: int) -> tuple[np.ndarray, ...]:
    """latent, place, value of the best near misses of latents first … last − 1, best first. The value is the
    pre-activation minus that of the weakest firing of the tokens looked at, or itself where there was none."""
    some = [(chunk, base) for chunk, base in zip(chunks, bases, strict=False) if "near_value" in chunk]
    values = np.concatenate([chunk["near_value"][first:last] for chunk, _ in some], axis=1)
    places = np.concatenate([chunk["near_place"][first:last].astype(np.int64) + base for chunk, base in some], axis=1)
    weakest = np.min([chunk["weakest"][first:last] for chunk, _ in some], axis=0)
    order = np.lexsort((places, -values), axis=1)[:, :MOST]
    values, places = np.take_along_axis(values, order, 1), np.take_along_axis(places, order, 1)
    latents = np.broadcast_to(np.arange(first, last, dtype=np.int32)[:, None], values.shape)
    real = np.isfinite(values)
    shift = np.where(np.isfinite(weakest), weakest, 0)[:, None]
    return latents[real], places[real], (values - shift)[real].astype(np.float32)
