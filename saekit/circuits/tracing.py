"""The edges of an attribution graph: gradients of the frozen model at every target, many at once, times what the
sources write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit.circuits.columns import ERROR, FEATURE, LOGIT, TOKEN, Nodes
from saekit.circuits.frozen import FINAL, FrozenModel
from saekit.circuits.order import influence
from saekit.circuits.replacement import LayerTranscoder
from saekit.circuits.sources import Sources, sources_of, written
from saekit.circuits.targets import ReadOut

LINEAR = 1e-3  # of all that reaches a node, what may be rounding
AGAIN = 4  # batches of features between two rankings, where not all have room


@dataclass(frozen=True, eq=False)
class Traced:
    """Nodes and edges in the precision of the model: features by layer, position and latent, errors by layer and
    position, tokens, targets.

    source, target, weight: of each edge, in no order. bias: what reaches a node from no other; 0 of those without
    edges into them. pre_activations: in the frozen forward, NaN of nodes without. left_out: features without room.
    """

    nodes: Nodes
    source: Int[np.ndarray, " edges"]
    target: Int[np.ndarray, " edges"]
    weight: Float[np.ndarray, " edges"]
    target_weights: Float[np.ndarray, " nodes"]
    bias: Float[np.ndarray, " nodes"]
    pre_activations: Float[np.ndarray, " nodes"]
    left_out: int


class Found:
    """Edges as they are found: of columns into features (by their column) and targets (behind all columns)."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, into: Int[Tensor, " row"], adds: Float[Tensor, "row columns"]) -> None:
        """Those of some rows that are not 0."""
        row, column = adds.nonzero(as_tuple=True)
        values = adds[row, column]
        self.parts.append((column.cpu().numpy(), into.to(row.device)[row].cpu().numpy(), values.cpu().numpy()))

    def joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """source, target, weight."""
        self.parts = [tuple(np.concatenate(each) for each in zip(*self.parts, strict=True))]  # type: ignore[list-item]
        return self.parts[0]


class Backward:
    """The frozen forward in many rows, whose gradients at targets are asked for."""

    def __init__(
        self,
        frozen: FrozenModel,
        parts: Sequence[LayerTranscoder],
        counted: Bool[Tensor, " t"],
        sources: Sources,
        rows: int,
    ) -> None:
        self.sources, self.rows = sources, rows
        self.embedding = _leaf(sources.embedding, rows)
        self.put = {site: _leaf(constant, rows) for site, constant in sources.constant.items()}
        reads = [part.reads for part in parts]
        kept = frozen.run(self.embedding, written(parts, counted, self.put), reads, gradients=True)
        self.read = [kept[site] for site in (*reads, FINAL)]

    def into(self, layer: int, position: Int[Tensor, " n"], directions: Float[Tensor, "n d"]) -> Tensor:
        """What each source adds to directions · x, x what layer ``layer`` reads at the positions: [n, columns]."""
        x, found = self.read[layer], []
        sites = list(self.put)[:layer]
        for at, vectors in zip(position.split(self.rows), directions.split(self.rows), strict=True):
            wanted = torch.zeros_like(x)
            wanted[torch.arange(len(at), device=x.device), at] = vectors
            leaves = [self.embedding, *(self.put[site] for site in sites)]
            by_embedding, *by_output = torch.autograd.grad(x, leaves, wanted, retain_graph=True, materialize_grads=True)
            by_site = {site: gradient[: len(at)] for site, gradient in zip(sites, by_output, strict=True)}
            found.append(self.sources.adding(by_embedding[: len(at)], by_site))
        return torch.cat(found)


def traced(
    frozen: FrozenModel,
    parts: Sequence[LayerTranscoder],
    counted: Bool[Tensor, " t"],
    aims: Sequence[ReadOut],
    max_nodes: int,
    batch_size: int,
) -> Traced:
    """Everything of a graph. Raises ValueError where max_nodes leaves no room for a feature, and for a model that is
    not linear when patterns and scales are held."""
    sources = sources_of(frozen, parts, counted)
    n, columns, layers = len(sources.z), len(sources), len(parts)
    room = max_nodes - (columns - n) - len(aims)
    if room < 1:
        raise ValueError(
            f"max_nodes={max_nodes:,} leaves no room for a feature: errors, tokens and targets of this prompt are "
            f"{columns - n + len(aims):,}, so give at least {columns - n + len(aims) + 1:,}."
        )
    most = max(len(aims), *(len(rows) for rows in sources.encoder))
    backward = Backward(frozen, parts, counted, sources, min(batch_size, most))
    edges = Found()
    at = torch.tensor([aim.position for aim in aims], device=sources.z.device)
    aimed = torch.stack([aim.direction for aim in aims])
    edges.add(columns + torch.arange(len(aims)), backward.into(layers, at, aimed))
    weights = np.zeros(columns + len(aims))
    weights[columns:] = [aim.weight for aim in aims]
    chosen = torch.zeros(n, dtype=torch.bool)
    while not chosen.all() and int(chosen.sum()) < room:
        if n <= room:
            some = torch.arange(n)
        else:
            ranks = torch.from_numpy(influence(*edges.joined(), weights)[:n])
            ranks[chosen] = -1
            some = ranks.argsort(descending=True, stable=True)
            some = some[: min(AGAIN * batch_size, room - int(chosen.sum()))].sort().values
        _features(backward, edges, some)
        chosen[some] = True
    bias, pre_activations = _without_sources(frozen, parts, counted, sources, aims, backward)
    tokens, firsts = frozen.tokens[0].cpu().numpy(), [part.first for part in parts]
    found = _assembled(sources, aims, edges, chosen.numpy(), bias, pre_activations, tokens, firsts)
    _check_linear(found)
    return found


def _features(backward: Backward, edges: Found, some: Int[Tensor, " m"]) -> None:
    """Edges into some features, by their columns, ascending."""
    sources, first = backward.sources, 0
    of_layer = sources.layer.cpu()[some]
    for layer, encoder in enumerate(sources.encoder):
        here = some[of_layer == layer]
        for group in here.split(backward.rows) if len(here) else ():
            where = group.to(encoder.device)
            edges.add(group, backward.into(layer, sources.position[where], encoder[where - first]))
        first += len(encoder)


@torch.no_grad()
def _without_sources(
    frozen: FrozenModel,
    parts: Sequence[LayerTranscoder],
    counted: Bool[Tensor, " t"],
    sources: Sources,
    aims: Sequence[ReadOut],
    backward: Backward,
) -> tuple[np.ndarray, np.ndarray]:
    """Of features and targets: the pre-activation where every feature, error and token is 0, and as it is."""
    put = {site: base[None] for site, base in sources.base.items()}
    nothing = torch.zeros_like(frozen.embedding)
    x = frozen.run(nothing, written(parts, counted, put), [part.reads for part in parts])
    bias = []
    for part in parts:
        here = sources.layer == part.layer
        u = part.pre_activations(x[part.reads][0]).to(sources.u)
        bias.append(u[sources.position[here], sources.latent[here]])

    def worth(final: Tensor) -> Tensor:
        return torch.stack([final[aim.position] @ aim.direction + aim.constant for aim in aims])

    without = torch.cat([*bias, worth(x[FINAL][0])])
    whole = torch.cat([sources.u, worth(backward.read[-1][0].detach())])
    return without.cpu().numpy(), whole.cpu().numpy()


def _assembled(
    sources: Sources,
    aims: Sequence[ReadOut],
    edges: Found,
    chosen: Bool[np.ndarray, " n"],
    bias: Float[np.ndarray, " features_and_targets"],
    pre_activations: Float[np.ndarray, " features_and_targets"],
    tokens: Int[np.ndarray, " t"],
    firsts: Sequence[int],
) -> Traced:
    """Nodes of what was chosen; what was not is in the error of its layer and position."""
    n, t, columns, layers = len(sources.z), len(sources.embedding), len(sources), len(firsts)
    layer, position = sources.layer.cpu().numpy(), sources.position.cpu().numpy()
    kept, fixed = int(chosen.sum()), columns - n
    node = np.where(chosen, np.cumsum(chosen) - 1, kept + layer * t + position)
    node = np.concatenate([node, kept + np.arange(fixed + len(aims))])
    source, target, weight = edges.joined()
    source, target = node[source], node[target]
    if kept < n:
        source, target, weight = _summed(source, target, weight, len(node))
    of_errors, of_tokens = np.arange(fixed - t), np.arange(t)
    blank, nothing = np.full(t, -1), np.full(fixed, np.nan)
    numbers = sources.latent.cpu().numpy() + np.repeat(firsts, [len(rows) for rows in sources.encoder])
    kind = np.repeat([FEATURE, ERROR, TOKEN, LOGIT], [kept, fixed - t, t, len(aims)])
    layer_of = np.concatenate([layer[chosen], of_errors // t, blank, np.full(len(aims), layers)])
    at = np.concatenate([position[chosen], of_errors % t, of_tokens, [aim.position for aim in aims]])
    number = np.concatenate([numbers[chosen], np.full(fixed - t, -1), tokens, [aim.number for aim in aims]])
    active = np.concatenate([sources.z.cpu().numpy()[chosen], nothing, [aim.probability for aim in aims]])
    nodes = Nodes(
        kind.astype(np.int8), layer_of.astype(np.int16), at.astype(np.int32), number, active.astype(np.float32)
    )
    has = np.concatenate([np.flatnonzero(chosen), n + np.arange(len(aims))])
    places = np.concatenate([np.arange(kept), kept + fixed + np.arange(len(aims))])
    of_nodes = np.zeros(len(nodes), bias.dtype), np.full(len(nodes), np.nan, bias.dtype)
    of_nodes[0][places], of_nodes[1][places] = bias[has], pre_activations[has]
    weights = np.zeros(len(nodes))
    weights[len(nodes) - len(aims) :] = [aim.weight for aim in aims]
    return Traced(nodes, source, target, weight, weights, *of_nodes, n - kept)


def _check_linear(found: Traced) -> None:
    """Raise ValueError where incoming edges and bias are not the pre-activation: something is not linear."""
    n, size = len(found.nodes), np.abs(found.weight)
    gap = np.bincount(found.target, found.weight, n) + found.bias - found.pre_activations
    scale = np.bincount(found.target, size, n) + np.abs(found.bias)
    share = np.nanmax(np.abs(gap) / np.maximum(scale, np.finfo(found.weight.dtype).tiny))
    if not share <= max(LINEAR, np.finfo(found.weight.dtype).eps ** 0.5):
        raise ValueError(
            "attribution is offered where a model is linear once attention patterns and norm scales are held, and in "
            f"this one {share:.1%} of what reaches a feature or target is not accounted for."
        )


def _summed(source: Any, target: Any, weight: Any, n: int) -> tuple[Any, Any, Any]:
    """Edges between the same two nodes as one."""
    keys, place = np.unique(target.astype(np.int64) * n + source, return_inverse=True)
    return keys % n, keys // n, np.bincount(place, weight, len(keys)).astype(weight.dtype)


def _leaf(h: Float[Tensor, "t d"], rows: int) -> Float[Tensor, "row t d"]:
    return h.detach().expand(rows, *h.shape).clone().requires_grad_()
