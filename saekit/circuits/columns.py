"""Nodes and edges of an attribution graph as columns: equally long NumPy arrays, 19 bytes a node and 12 an edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int, Int8, Int16, Int32, Int64
from numpy.typing import ArrayLike

KINDS = ("token", "feature", "error", "logit")
TOKEN, FEATURE, ERROR, LOGIT = range(len(KINDS))
NODE_TYPES: dict[str, type[np.generic]] = {
    "kind": np.int8,
    "layer": np.int16,
    "position": np.int32,
    "number": np.int64,
    "activation": np.float32,
}
EDGE_TYPES: dict[str, type[np.generic]] = {"source": np.int32, "target": np.int32, "weight": np.float32}
BLOCK = 1 << 20  # edges at once where work on them needs room


@dataclass(frozen=True, eq=False, repr=False)
class Nodes:
    """The nodes of a graph, in any order. ``Nodes.of`` makes columns of these types.

    kind:       index into ``KINDS``: "token", "feature", "error", "logit".
    layer:      −1 of tokens, the number of layers of logits.
    position:   in the prompt, from 0.
    number:     of a feature its latent, of a token or a logit its id in the vocabulary; −1 of an error. A target that
                is no token has a number from the size of the vocabulary on.
    activation: z of a feature, probability of a logit, else NaN.
    Raises ValueError where lengths differ or a kind is none of these, TypeError for a column of another type.
    """

    kind: Int8[np.ndarray, " nodes"]
    layer: Int16[np.ndarray, " nodes"]
    position: Int32[np.ndarray, " nodes"]
    number: Int64[np.ndarray, " nodes"]
    activation: Float32[np.ndarray, " nodes"]

    def __post_init__(self) -> None:
        _check(self, NODE_TYPES)
        if len(self) and not 0 <= self.kind.min() <= self.kind.max() < len(KINDS):
            wrong = self.kind[(self.kind < 0) | (self.kind >= len(KINDS))][0]
            raise ValueError(f"a kind of node is a number from 0 to {len(KINDS) - 1}, found {wrong}.")

    @classmethod
    def of(
        cls, kind: ArrayLike, layer: ArrayLike, position: ArrayLike, number: ArrayLike, activation: ArrayLike
    ) -> Nodes:
        """Nodes of lists, or of arrays of any type.

        kind, layer, position, number, activation: as in the class. Raises ValueError for a number that a column of its
        type cannot hold."""
        found = {}
        for column, (name, dtype) in zip((kind, layer, position, number, activation), NODE_TYPES.items(), strict=True):
            given = np.asarray(column)
            found[name] = given.astype(dtype)
            if name != "activation" and (found[name] != given).any():
                wrong = given[found[name] != given][0]
                raise ValueError(f"{name} of a node is a whole number that {dtype.__name__} holds, found {wrong}.")
        return cls(**found)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """A name for each node: feature "{layer}_{number}_{position}", error "error_{layer}_{position}", token
        "E_{id}_{position}", logit "{layer + 1}_{id}_{position}"."""
        found = []
        columns = (self.kind, self.layer, self.position, self.number)
        for kind, layer, position, number in zip(*(column.tolist() for column in columns), strict=True):
            if kind == FEATURE:
                found.append(f"{layer}_{number}_{position}")
            elif kind == ERROR:
                found.append(f"error_{layer}_{position}")
            elif kind == TOKEN:
                found.append(f"E_{number}_{position}")
            else:
                found.append(f"{layer + 1}_{number}_{position}")
        return tuple(found)

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, which: Int[np.ndarray, " some"] | Bool[np.ndarray, " nodes"]) -> Nodes:
        return Nodes(*(getattr(self, name)[which] for name in NODE_TYPES))

    def __repr__(self) -> str:
        return f"{len(self):,} nodes"


@dataclass(frozen=True, eq=False, repr=False)
class Edges:
    """The edges of a graph, by target and then source, none of weight 0. ``Edges.of`` makes them so.

    source, target: indices of nodes.
    weight: A[target, source], signed: what the source adds to the target's pre-activation.
    Raises ValueError where lengths differ, TypeError for a column of another type.
    """

    source: Int32[np.ndarray, " edges"]
    target: Int32[np.ndarray, " edges"]
    weight: Float32[np.ndarray, " edges"]

    def __post_init__(self) -> None:
        _check(self, EDGE_TYPES)

    @classmethod
    def of(cls, source: ArrayLike, target: ArrayLike, weight: ArrayLike) -> Edges:
        """Edges of lists, or of arrays of any type, in any order: sorted, and without those of weight 0.

        source, target, weight: as in the class. Raises ValueError for a weight that is not finite, and for two edges
        between the same nodes."""
        given = (source, target, weight)
        found = cls(*(np.asarray(column, dtype) for column, dtype in zip(given, EDGE_TYPES.values(), strict=True)))
        if not np.isfinite(found.weight).all():
            wrong = int(np.flatnonzero(~np.isfinite(found.weight))[0])
            ends = f"{found.source[wrong]} → {found.target[wrong]}"
            raise ValueError(f"the weight of an edge is a finite number, found {found.weight[wrong]} at {ends}.")
        kept = found.weight != 0
        found = found if kept.all() else found[kept]
        if not found.sorted:
            found = found[np.lexsort((found.source, found.target))]
        if not found.sorted:
            same = np.flatnonzero((np.diff(found.source) == 0) & (np.diff(found.target) == 0))[0]
            ends = f"{found.source[same]} → {found.target[same]}"
            raise ValueError(f"there is at most one edge between two nodes, found several of {ends}.")
        return found

    @property
    def sorted(self) -> bool:
        """Whether they are strictly ascending by target and then source."""
        for begin in range(0, len(self), BLOCK):
            source, target = (column[begin : begin + BLOCK + 1] for column in (self.source, self.target))
            same = target[1:] == target[:-1]
            if not ((target[1:] > target[:-1]) | (same & (source[1:] > source[:-1]))).all():
                return False
        return True

    def starts(self, n: int) -> Int64[np.ndarray, " n_plus_1"]:
        """Where the edges into each node begin; the last number is how many edges there are. n: how many nodes."""
        return np.searchsorted(self.target, np.arange(n + 1, dtype=np.int32))

    def between(self, nodes: Bool[np.ndarray, " nodes"]) -> Bool[np.ndarray, " edges"]:
        """Which edges join two of some nodes. nodes: which these are."""
        found = np.repeat(nodes, np.diff(self.starts(len(nodes))))
        for begin in range(0, len(self), BLOCK):  # an index becomes eight bytes
            found[begin : begin + BLOCK] &= nodes[self.source[begin : begin + BLOCK]]
        return found

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, which: Int[np.ndarray, " some"] | Bool[np.ndarray, " edges"]) -> Edges:
        return Edges(self.source[which], self.target[which], self.weight[which])

    def __repr__(self) -> str:
        return f"{len(self):,} edges"


def _check(columns: Nodes | Edges, types: Mapping[str, type[np.generic]]) -> None:
    who, found = type(columns).__name__, {name: getattr(columns, name) for name in types}
    for name, dtype in types.items():
        if found[name].dtype != dtype:
            wanted = dtype.__name__
            raise TypeError(f"{name} of {who} is {wanted}, found {found[name].dtype}: {who}.of(…) makes it so.")
    if len({len(column) for column in found.values()}) > 1:
        said = ", ".join(f"{name} {len(column):,}" for name, column in found.items())
        raise ValueError(f"the columns of {who} are equally long, found {said}.")
