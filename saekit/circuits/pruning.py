"""Influence, pruning and scores of attribution graphs, as circuit-tracer defines them (Ameisen et al. 2025).

    Â[t, s]   = |A[t, s]| / Σ_s |A[t, s]|
    influence = Σ_{k ≥ 1} w Âᵏ                                    w: the targets' weights

Nothing of the size nodes × nodes is made, and edges are not sorted: memory grows with the edges that there are, by
about five bytes each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from scipy.sparse import csc_array

from saekit.circuits.columns import BLOCK, ERROR, FEATURE, LOGIT, TOKEN, Edges, Nodes

LEAST_SUM = 1e-10  # of the sizes of a node's incoming edges, as circuit-tracer has it
LEAST_BLOCK = 1 << 14  # edges below which targets of several layers are taken together
SWEEPS = 1000
LOW = 0.5  # a replacement score that is said in words


class Flow(NamedTuple):
    """influence: of each node, Σ_k w Âᵏ. sums: of the sizes of its incoming edges (least 1e-10)."""

    influence: Float64[np.ndarray, " nodes"]
    sums: Float64[np.ndarray, " nodes"]


class Pruned(NamedTuple):
    """nodes: which are kept. edges: those that are kept, in the numbers of before. reached: of each node the share of
    all influence reached with it, from the most influential on; NaN of logits."""

    nodes: Bool[np.ndarray, " nodes"]
    edges: Edges
    reached: Float32[np.ndarray, " nodes"]


def flow(
    nodes: Nodes,
    edges: Edges,
    weights: Float[np.ndarray, " nodes"],
    inside: Bool[np.ndarray, " edges"] | None = None,
) -> Flow:
    """Influence of every node on the targets, in one sweep from the last layer to the first.

    A node passes on what has arrived at it since it last did, until nothing is under way; that is Σ_k w Âᵏ in whatever
    order they are taken. Layers downwards it is one sweep; edges inside of a layer need another.

    nodes, edges: columns of a graph. weights: of the targets; 0 of other nodes. inside: edges that count, default all.
    Raises ValueError where edges lead in a circle.
    """
    starts = edges.starts(len(nodes))
    receiving = starts[1:] > starts[:-1]
    influence, sums = np.zeros(len(nodes)), np.full(len(nodes), LEAST_SUM)
    pending = np.where(receiving, weights, 0).astype(np.float64)
    blocks = sorted(_blocks(nodes.layer, starts), key=lambda block: -int(nodes.layer[block.start]))
    for _ in range(min(SWEEPS, len(nodes) + 1)):
        for block in blocks:
            arrived = pending[block].copy()
            if not arrived.any():
                continue
            pending[block] = 0
            part, rows = slice(starts[block.start], starts[block.stop]), starts[block.start : block.stop + 1]
            sizes = np.abs(edges.weight[part], dtype=np.float64)
            if inside is not None:
                sizes *= inside[part]
            begin, some = (rows - rows[0]).astype(np.int32), receiving[block]
            sums[block][some] = np.maximum(np.add.reduceat(sizes, begin[:-1][some]), LEAST_SUM)
            matrix = csc_array((sizes, edges.source[part], begin), shape=(len(nodes), len(arrived)))
            given = matrix @ (arrived / sums[block])
            influence += given
            pending += np.where(receiving, given, 0)
        if not pending.any():
            return Flow(influence, sums)
    raise ValueError("the graph has a circle: following its edges back from a target does not come to an end.")


def _blocks(layers: np.ndarray, starts: Int64[np.ndarray, " nodes_and_1"]) -> Iterator[slice]:
    """Neighbouring targets of one layer (of several where their edges are few), at most BLOCK edges at once."""
    begin, changes = 0, np.flatnonzero(np.diff(layers)) + 1
    for end in [*changes.tolist(), len(layers)]:
        if starts[end] - starts[begin] < LEAST_BLOCK and end < len(layers):
            continue
        while begin < end:
            fits = int(np.searchsorted(starts, starts[begin] + BLOCK, side="right")) - 1
            stop = min(end, max(begin + 1, fits))
            if starts[stop] > starts[begin]:
                yield slice(begin, stop)
            begin = stop


@dataclass(frozen=True)
class Scores:
    """How much of the influence on the targets a graph explains.

    replacement:  of the influence that tokens and errors have, the tokens' share:
                  Σ infl(tokens) / (Σ infl(tokens) + Σ infl(errors)).
    completeness: mean share of a node's input that does not come from errors, nodes weighted by their influence:
                  Σ_t (1 − Σ_errors Â[t, e]) (infl_t + w_t) / Σ_t (infl_t + w_t).
    Both are NaN where nothing leads to a target.
    """

    replacement: float
    completeness: float

    def __str__(self) -> str:
        found = f"replacement {self.replacement:.3f}, completeness {self.completeness:.3f}"
        low = f": errors, which nobody has explained, begin {1 - self.replacement:.0%} of what reaches the targets"
        return found + low * (self.replacement < LOW)


def scores(nodes: Nodes, weights: Float[np.ndarray, " nodes"], influence: Float64[np.ndarray, " nodes"]) -> Scores:
    """Replacement and completeness of a graph.

    nodes: columns of a graph. weights: of the targets. influence: of each node.
    """
    of_tokens, of_errors = (float(influence[nodes.kind == kind].sum()) for kind in (TOKEN, ERROR))
    everything = float(influence.sum() + weights.sum(dtype=np.float64))
    if not of_tokens + of_errors:
        return Scores(float("nan"), float("nan"))
    # Σ_t (infl_t + w_t) Σ_errors Â[t, e] is Σ infl(errors), by what influence is
    return Scores(of_tokens / (of_tokens + of_errors), 1 - of_errors / everything)


def prune(
    nodes: Nodes,
    edges: Edges,
    weights: Float[np.ndarray, " nodes"],
    influence: Float64[np.ndarray, " nodes"],
    node_share: float,
    edge_share: float,
) -> Pruned:
    """The most influential nodes, and of the edges between them those that carry the influence.

    Nodes are kept from the most influential on until ``node_share`` of all influence is reached, tokens and logits
    always. On the edges between them, normalised anew, an edge carries Â'[t, s] (infl'_t + w_t); those are kept that
    reach ``edge_share``. Then features and errors without an outgoing edge and features without an incoming one are
    dropped, until there is none. A node without any influence is not kept.

    nodes, edges: columns of a graph. weights: of the targets. influence: of each node. node_share, edge_share: above 0,
    at most 1.
    """
    order = np.argsort(-influence, kind="stable")
    running = np.cumsum(influence[order])
    running /= max(running[-1], np.finfo(np.float64).tiny)
    place = int(np.searchsorted(running, node_share)) if node_share < 1 else len(order) - 1
    last = influence[order[min(place, len(order) - 1)]]
    always = (nodes.kind == TOKEN) | (nodes.kind == LOGIT)
    kept = always | ((influence >= last) & (influence > 0))
    reached = np.empty(len(nodes), dtype=np.float32)
    reached[order] = running
    reached[nodes.kind == LOGIT] = np.nan

    inside = edges.between(kept)
    again = flow(nodes, edges, weights, inside)
    carried = _carried(edges, inside, (again.influence + weights) / again.sums)
    inside[inside] = carried >= reaching(carried, edge_share)
    return Pruned(*_without_dangling(nodes.kind, kept, edges[inside]), reached)


def _carried(
    edges: Edges, inside: Bool[np.ndarray, " edges"], factors: Float64[np.ndarray, " nodes"]
) -> Float32[np.ndarray, " some"]:
    """Of each edge that is inside |A[t, s]| factor_t."""
    found, done = np.empty(int(np.count_nonzero(inside)), dtype=np.float32), 0
    for begin in range(0, len(edges), BLOCK):
        which = np.flatnonzero(inside[begin : begin + BLOCK])
        part = slice(begin, begin + BLOCK)
        found[done : done + len(which)] = np.abs(edges.weight[part][which]) * factors[edges.target[part][which]]
        done += len(which)
    return found


def reaching(values: Float32[np.ndarray, " some"], share: float) -> float:
    """The value with which the sum of the values, from the largest on, reaches a share of the whole; found without
    sorting them, by a histogram over the first half of their bits (of numbers ≥ 0 in the order of their size).

    values: none negative. share: above 0, at most 1, which is reached with the least positive value. Returns infinity
    where no value is positive."""
    if share >= 1:
        return float(np.min(values, where=values > 0, initial=np.inf))
    sums = np.zeros(1 << 16)
    for begin in range(0, len(values), BLOCK):
        part = values[begin : begin + BLOCK]
        sums += np.bincount(part.view(np.uint32) >> 16, weights=part, minlength=len(sums))
    running = np.cumsum(sums[::-1])
    wanted = share * running[-1]
    place = int(np.searchsorted(running, wanted))
    bin_ = len(sums) - 1 - place
    within = [part[(part.view(np.uint32) >> 16) == bin_] for part in np.split(values, range(BLOCK, len(values), BLOCK))]
    candidates = np.sort(np.concatenate(within))[::-1]
    candidates = candidates[candidates > 0]
    if not len(candidates):
        return float("inf")
    before = running[place] - sums[bin_]
    reached = before + np.cumsum(candidates, dtype=np.float64)
    return float(candidates[min(int(np.searchsorted(reached, wanted)), len(candidates) - 1)])


def _without_dangling(
    kind: np.ndarray, kept: Bool[np.ndarray, " nodes"], edges: Edges
) -> tuple[Bool[np.ndarray, " nodes"], Edges]:
    """Features and errors lead somewhere, features come from somewhere: what does not is dropped until all do."""
    while True:
        leaving, arriving = np.zeros_like(kept), np.zeros_like(kept)
        leaving[edges.source] = True
        arriving[edges.target] = True
        lost = kept & (((kind == FEATURE) & ~(leaving & arriving)) | ((kind == ERROR) & ~leaving))
        if not lost.any():
            return kept, edges
        kept = kept & ~lost
        edges = edges[edges.between(kept)]
