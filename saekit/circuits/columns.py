"""Nodes and edges of an attribution graph as columns: equally long NumPy arrays, 19 bytes a node and 12 an edge."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int8, Int16, Int32, Int64

KINDS = ("token", "feature", "error", "logit")
TOKEN, FEATURE, ERROR, LOGIT = range(len(KINDS))


@dataclass(frozen=True, eq=False, repr=False)
class Nodes:
    """The nodes of a graph, in any order. What is given is made of the types named here.

    kind:       index into ``KINDS``: "token", "feature", "error", "logit".
    layer:      −1 of tokens, the number of layers of logits.
    position:   in the prompt, from 0.
    number:     of a feature its latent, of a token or a logit its id in the vocabulary; −1 of an error. A target that
                is no token has a number from the size of the vocabulary on.
    activation: z of a feature, probability of a logit, else NaN.
    Raises ValueError where lengths differ or a kind is none of these.
    """

    kind: Int8[np.ndarray, " nodes"]
    layer: Int16[np.ndarray, " nodes"]
    position: Int32[np.ndarray, " nodes"]
    number: Int64[np.ndarray, " nodes"]
    activation: Float32[np.ndarray, " nodes"]

    def __post_init__(self) -> None:
        _cast(self, kind=np.int8, layer=np.int16, position=np.int32, number=np.int64, activation=np.float32)
        if len(self) and not 0 <= self.kind.min() <= self.kind.max() < len(KINDS):
            wrong = self.kind[(self.kind < 0) | (self.kind >= len(KINDS))][0]
            raise ValueError(f"a kind of node is a number from 0 to {len(KINDS) - 1}, found {wrong}.")

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, which: Int[np.ndarray, " some"] | Bool[np.ndarray, " nodes"]) -> Nodes:
        return Nodes(*(getattr(self, field.name)[which] for field in fields(self)))

    def __repr__(self) -> str:
        return f"{len(self):,} nodes"


@dataclass(frozen=True, eq=False, repr=False)
class Edges:
    """The edges of a graph, by target and then source, none of weight 0. ``Edges.of`` makes them so.

    source, target: indices of nodes.
    weight: A[target, source], signed: what the source adds to the target's pre-activation.
    Raises ValueError where lengths differ.
    """

    source: Int32[np.ndarray, " edges"]
    target: Int32[np.ndarray, " edges"]
    weight: Float32[np.ndarray, " edges"]

    def __post_init__(self) -> None:
        _cast(self, source=np.int32, target=np.int32, weight=np.float32)

    @classmethod
    def of(
        cls,
        source: Int[np.ndarray, " any"],
        target: Int[np.ndarray, " any"],
        weight: Float[np.ndarray, " any"],
    ) -> Edges:
        """Edges from columns in any order: sorted, and without those of weight 0.

        source, target, weight: as in the class. Raises ValueError for a weight that is not finite, and for two edges
        between the same nodes."""
        found = cls(source, target, weight)
        if not np.isfinite(found.weight).all():
            wrong = int(np.flatnonzero(~np.isfinite(found.weight))[0])
            ends = f"{found.source[wrong]} → {found.target[wrong]}"
            raise ValueError(f"the weight of an edge is a finite number, found {found.weight[wrong]} at {ends}.")
        found = found[np.flatnonzero(found.weight)]
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
        later = self.target[1:] > self.target[:-1]
        return bool((later | ((self.target[1:] == self.target[:-1]) & (self.source[1:] > self.source[:-1]))).all())

    def starts(self, n: int) -> Int64[np.ndarray, " n_plus_1"]:
        """Where the edges into each node begin; the last number is how many edges there are. n: how many nodes."""
        return np.searchsorted(self.target, np.arange(n + 1, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.weight)

    def __getitem__(self, which: Int[np.ndarray, " some"] | Bool[np.ndarray, " edges"]) -> Edges:
        return Edges(self.source[which], self.target[which], self.weight[which])

    def __repr__(self) -> str:
        return f"{len(self):,} edges"


def _cast(columns: Nodes | Edges, **types: type[np.generic]) -> None:
    for name, dtype in types.items():
        object.__setattr__(columns, name, np.ascontiguousarray(getattr(columns, name), dtype=dtype))
    lengths = {name: len(getattr(columns, name)) for name in types}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise ValueError(f"the columns of {type(columns).__name__} are equally long, found {said}.")
