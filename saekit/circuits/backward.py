"""Gradients of the frozen model at many targets at once, and what the sources add there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit.circuits.columns import Edges
from saekit.circuits.frozen import FINAL, FrozenModel
from saekit.circuits.replacement import LayerTranscoder
from saekit.circuits.sources import Sources, written


class Backward:
    """The frozen forward in so many rows, whose gradients are asked for: of each row at another target."""

    def __init__(
        self,
        frozen: FrozenModel,
        parts: Sequence[LayerTranscoder],
        counted: Bool[Tensor, " t"],
        sources: Sources,
        rows: int,
    ) -> None:
        """parts: in the order of layers. counted: where there are features."""
        self.sources, self.rows = sources, rows
        self.embedding = _leaf(sources.embedding, rows)
        self.outputs = {site: _leaf(constant, rows) for site, constant in sources.constant.items()}
        reads = [part.reads for part in parts]
        kept = frozen.run(self.embedding, written(parts, counted, self.outputs), reads, gradients=True)
        self.read = [kept[site] for site in (*reads, FINAL)]

    def into(
        self, layer: int, position: Int[Tensor, " m"], directions: Float[Tensor, "m d"]
    ) -> Float[Tensor, "m columns"]:
        """What each source adds to directions · x at the positions, where m ≤ rows.

        layer: x is what its MLP reads; the number of layers: what the unembedding reads."""
        x, m = self.read[layer], len(position)
        wanted = torch.zeros_like(x)
        wanted[torch.arange(m, device=x.device), position] = directions.to(x)
        before = dict(list(self.outputs.items())[:layer])  # what is written later does not reach x
        leaves = [self.embedding, *before.values()]
        by_embedding, *by_output = torch.autograd.grad(x, leaves, wanted, retain_graph=True, materialize_grads=True)
        by_site = {site: gradient[:m] for site, gradient in zip(before, by_output, strict=True)}
        return self.sources.adding(by_embedding[:m], by_site)


class Collected:
    """Edges as they are found, a target's all at once."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, targets: Int[Tensor, " m"], adds: Float[Tensor, "m columns"]) -> None:
        """Those into some targets, of all sources that add something.

        targets: numbers of nodes. adds: what each source does."""
        row, column = adds.nonzero(as_tuple=True)
        into = targets.to(row.device)[row]
        self.parts.append((column.int().cpu().numpy(), into.int().cpu().numpy(), adds[row, column].cpu().numpy()))

    def sorted(self) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"], Float[np.ndarray, " edges"]]:
        """source, target, weight, by target and then source."""
        source, target, weight = (np.concatenate(each) for each in zip(*self.parts, strict=True))
        order = np.argsort(target, kind="stable")
        self.parts = [(source[order], target[order], weight[order])]
        return self.parts[0]

    def edges(self) -> Edges:
        """Those so far, as a graph has them."""
        source, target, weight = self.sorted()
        return Edges(source, target, weight.astype(np.float32))


def _leaf(h: Float[Tensor, "t d"], rows: int) -> Float[Tensor, "row t d"]:
    return h.detach().expand(rows, *h.shape).clone().requires_grad_()
