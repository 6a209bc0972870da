"""Attribution graphs made by hand and by chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from saekit.circuits import Edges, Graph, Nodes

# Twelve nodes whose influences are whole 64ths. kind, layer, position, number, activation
HAND_NODES = [
    (0, -1, 0, 100, np.nan),  # 0 token
    (0, -1, 1, 101, np.nan),  # 1 token
    (1, 0, 0, 7, 1.0),  # 2 feature a
    (1, 0, 1, 8, 2.0),  # 3 feature b
    (2, 0, 1, -1, np.nan),  # 4 error
    (1, 1, 1, 3, 1.5),  # 5 feature c
    (1, 1, 1, 4, 0.5),  # 6 feature d
    (2, 1, 1, -1, np.nan),  # 7 error
    (1, 1, 0, 5, 9.0),  # 8 leads nowhere
    (3, 2, 1, 200, 0.5),  # 9 logit
    (3, 2, 1, 201, 0.25),  # 10 logit
    (1, 0, 0, 9, 3.0),  # 11 leads nowhere
]
HAND_EDGES = [  # source, target, weight
    (5, 9, 2), (6, 9, -1), (7, 9, 1), (6, 10, 3), (1, 10, -1), (2, 5, 4), (3, 5, -4), (2, 6, 1), (4, 6, 3),
    (0, 2, 1), (1, 3, -2), (0, 3, 2), (3, 8, 0.5), (0, 11, 1),
]  # fmt: skip


def hand_made(**more: Any) -> Graph:
    columns = [np.array(column) for column in zip(*HAND_NODES, strict=True)]
    nodes = Nodes.of(*columns)
    source, target, weight = (np.array(column) for column in zip(*HAND_EDGES, strict=True))
    weights = np.where(nodes.kind == 3, nodes.activation, 0).astype(np.float32)
    edges = Edges.of(source, target, weight)
    return Graph(nodes, edges, weights, np.array([100, 101]), ["The", " keys"], **more)


def random_graph(seed: int, layers: int = 3, width: int = 6, positions: int = 3, density: float = 0.5) -> Graph:
    """Features of every layer, errors, tokens, logits, in an order by chance; edges from lower to higher layers."""
    draw = np.random.default_rng(seed)
    rows = [(0, -1, position, 50 + position) for position in range(positions)]
    for layer in range(layers):
        rows += [(2, layer, position, -1) for position in range(positions)]
        rows += [(1, layer, int(draw.integers(positions)), number) for number in range(width)]
    rows += [(3, layers, positions - 1, number) for number in range(3)]
    kind, layer, position, number = np.array(rows)[draw.permutation(len(rows))].T
    probabilities = np.where(kind == 3, draw.uniform(0.05, 0.3, len(kind)), 0).astype(np.float32)
    activation = np.where(kind == 1, draw.exponential(size=len(kind)), np.where(kind == 3, probabilities, np.nan))
    nodes = Nodes.of(kind, layer, position, number, activation)
    receives = (kind == 1) | (kind == 3)
    allowed = receives[:, None] & (layer[None] < layer[:, None]) & (position[None] <= position[:, None]) & (kind != 3)
    target, source = np.nonzero(allowed & (draw.random(allowed.shape) < density))
    edges = Edges.of(source, target, draw.normal(size=len(source)))
    tokens = 50 + np.arange(positions)
    return Graph(nodes, edges, probabilities, tokens, [f" t{i}" for i in range(positions)])
