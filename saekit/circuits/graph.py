"""Graph: why a model said what it said, as features, errors, tokens and logits and what each adds to each
(attribution graphs; Ameisen et al. 2025, "Circuit tracing", transformer-circuits.pub)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from saekit.circuits.columns import ERROR, FEATURE, KINDS, LOGIT, TOKEN, Edges, Nodes
from saekit.files.choices import unknown

if TYPE_CHECKING:
    import pandas

DEFINITION = (
    "weight = what a source adds to a target's pre-activation, attention patterns and norm scales held as they were"
)


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """An attribution graph: nodes (feature, position), and edges source → target.

    With attention patterns and norm scales held as they were on the prompt, everything between two transcoders is
    linear. The weight of an edge is A[t, s] = z_s · W_dec[s] · (path from s to t) · W_enc[t], what source s adds to the
    pre-activation of target t; a logit reads W_U[:, y] − mean_v W_U[:, v].

    ``graph.nodes`` and ``graph.edges`` are frames. The arrays behind them are these:
    node_columns:   kind, layer, position, number and activation of each node.
    edge_columns:   source, target and weight of each edge, sorted by target and then source.
    target_weights: of each node its part in what is explained: of a logit its probability, else 0.
    tokens:         ids of the prompt's tokens; −1 where a file does not tell.
    strings:        the tokens as text.
    about:          model, model_hash, dictionaries, prompt and settings; and of a file what saekit has no place for.
    bias:           what reaches a node from no other node: the sum of its incoming edges and this is its pre-activation
                    in the frozen forward. None where a file does not tell.
    reached:        of a pruned graph or a file, the share of all influence that was reached with this node, from the
                    most influential on: small is important. NaN of nodes without.
    labels:         names of nodes, by id.
    Raises ValueError for columns that do not fit together and for two nodes with the same id.
    """

    node_columns: Nodes
    edge_columns: Edges
    target_weights: Float32[np.ndarray, " nodes"]
    tokens: Int64[np.ndarray, " tokens"]
    strings: Sequence[str]
    about: Mapping[str, Any] = field(default_factory=dict)
    bias: Float32[np.ndarray, " nodes"] | None = None
    reached: Float32[np.ndarray, " nodes"] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, edges = len(self.node_columns), self.edge_columns
        for name in ("target_weights", "bias", "reached"):
            values = getattr(self, name)
            if values is not None and len(values) != n:
                raise ValueError(f"{name} has a number for each of {n:,} nodes, found {len(values):,}.")
        if len(self.tokens) != len(self.strings):
            raise ValueError(f"each token has its text, found {len(self.tokens)} tokens, {len(self.strings)} texts.")
        if len(edges) and not (
            min(edges.source.min(), edges.target.min()) >= 0 and edges.source.max() < n > edges.target.max()
        ):
            raise ValueError(f"edges join nodes 0 to {n - 1:,}, found {max(edges.source.max(), edges.target.max()):,}.")
        if not edges.sorted:
            raise ValueError("edges are sorted by target and then source, each once: Edges.of(…) does so.")
        if len(self._places) != n:
            twice = next(each for i, each in enumerate(self.ids) if self._places[each] != i)
            raise ValueError(f"every node has an id of its own, found {twice!r} twice.")

    # -- what one asks of it -------------------------------------------------------------------------------------------

    @property
    def n_layers(self) -> int:
        """Layers of the model: the layer of the logits."""
        of_logits = self.node_columns.layer[self.node_columns.kind == LOGIT]
        return int(of_logits[0]) if len(of_logits) else int(self.node_columns.layer.max(initial=-1)) + 1

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """A name for each node: feature "{layer}_{number}_{position}", error "error_{layer}_{position}", token
        "E_{id}_{position}", logit "{n_layers + 1}_{id}_{position}"."""
        columns, found = self.node_columns, []
        rows = zip(*(c.tolist() for c in (columns.kind, columns.layer, columns.position, columns.number)), strict=True)
        for kind, layer, position, number in rows:
            if kind == FEATURE:
                found.append(f"{layer}_{number}_{position}")
            elif kind == ERROR:
                found.append(f"error_{layer}_{position}")
            elif kind == TOKEN:
                found.append(f"E_{number}_{position}")
            else:
                found.append(f"{layer + 1}_{number}_{position}")
        return tuple(found)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {each: i for i, each in enumerate(self.ids)}

    def index(self, node: str) -> int:
        """The index of a node in the columns.

        node: its id. Raises ValueError naming the closest where there is none."""
        if node not in self._places:
            raise ValueError(unknown("there is no node", node, self.ids))
        return self._places[node]

    @cached_property
    def nodes(self) -> pandas.DataFrame:
        """A row a node: id, kind, layer, position, token (the text there), number, activation, label."""
        import pandas

        columns = self.node_columns
        text = dict(enumerate(self.strings))
        return pandas.DataFrame(
            {
                "id": self.ids,
                "kind": [KINDS[kind] for kind in columns.kind],
                "layer": columns.layer,
                "position": columns.position,
                "token": [text.get(position, "") for position in columns.position.tolist()],
                "number": columns.number,
                "activation": columns.activation,
                "label": [self.labels.get(each, "") for each in self.ids],
            }
        )

    @cached_property
    def edges(self) -> pandas.DataFrame:
        """A row an edge: source and target (ids of nodes) and weight."""
        import pandas

        columns = self.edge_columns
        ids = np.array(self.ids, dtype=object)
        return pandas.DataFrame(
            {"source": ids[columns.source], "target": ids[columns.target], "weight": columns.weight}
        )

    def subgraph(self, nodes: Bool[np.ndarray, " nodes"], edges: Bool[np.ndarray, " edges"] | None = None) -> Graph:
        """The graph of some nodes and of the edges between them.

        nodes: which are kept. edges: which are kept of those whose ends are; default all."""
        columns = self.edge_columns
        inside = nodes[columns.source] & nodes[columns.target]
        kept = columns[np.flatnonzero(inside if edges is None else inside & edges)]
        moved = (np.cumsum(nodes) - 1).astype(np.int32)
        return Graph(
            self.node_columns[nodes],
            Edges(moved[kept.source], moved[kept.target], kept.weight),
            self.target_weights[nodes],
            self.tokens,
            self.strings,
            self.about,
            None if self.bias is None else self.bias[nodes],
            None if self.reached is None else self.reached[nodes],
            self.labels,
        )
