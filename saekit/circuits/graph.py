"""Graph: why a model said what it said, as features, errors, tokens and logits and what each adds to each
(attribution graphs; Ameisen et al. 2025, "Circuit tracing", transformer-circuits.pub)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from saekit.circuits.columns import ERROR, FEATURE, KINDS, LOGIT, TOKEN, Edges, Nodes
from saekit.circuits.pruning import Scores, flow, prune, scores
from saekit.files.arguments import number
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
        for kind, layer, position, which in rows:
            if kind == FEATURE:
                found.append(f"{layer}_{which}_{position}")
            elif kind == ERROR:
                found.append(f"error_{layer}_{position}")
            elif kind == TOKEN:
                found.append(f"E_{which}_{position}")
            else:
                found.append(f"{layer + 1}_{which}_{position}")
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
        """A row a node: id, kind, layer, position, token (the text there), number, activation, influence, label."""
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
                "influence": self.influence,
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

    # -- what is explained, and the part of it that matters ------------------------------------------------------------

    @cached_property
    def influence(self) -> Float64[np.ndarray, " nodes"]:
        """Of each node its influence on the targets over all paths, Σ_{k ≥ 1} w Âᵏ, with Â[t, s] = |A[t, s]| / Σ_s
        |A[t, s]|. Raises ValueError where edges lead in a circle."""
        return flow(self.node_columns, self.edge_columns, self.target_weights).influence

    @cached_property
    def scores(self) -> Scores:
        """Replacement and completeness of this graph: ``Scores`` says what they are."""
        return scores(self.node_columns, self.target_weights, self.influence)

    def prune(self, nodes: float = 0.8, edges: float = 0.98) -> Graph:
        """The part that matters: the most influential nodes, and the edges that carry the influence between them.

        nodes: share of all influence that is kept, from the most influential node on; tokens and logits stay always.
        edges: share that is kept of what the edges between these carry. A feature that then leads nowhere or comes from
               nowhere is dropped, and so is an error that leads nowhere.
        Returns a smaller ``Graph``, whose ``.about["pruned"]`` has the scores of this one, which are those to report.
        For example ``sk.attribute(model, "micro", "The keys").prune(nodes=0.5)``.
        Raises ValueError for a share that is not above 0 and at most 1, and where no target has a weight.
        """
        for name, share in {"nodes": nodes, "edges": edges}.items():
            if number(name, share, above=0) > 1:
                raise ValueError(f"{name} is a share, above 0 and at most 1, found {share!r}.")
        if not self.target_weights.any():
            raise ValueError("nothing says what is to be explained: target_weights is 0 of every node.")
        kept, columns, reached = prune(
            self.node_columns, self.edge_columns, self.target_weights, self.influence, nodes, edges
        )
        whole = {"replacement": self.scores.replacement, "completeness": self.scores.completeness}
        sizes = {"of_nodes": len(self.node_columns), "of_edges": len(self.edge_columns)}
        about = {**self.about, "pruned": {"nodes": nodes, "edges": edges, **sizes, **whole}}
        return replace(self, reached=reached, about=about)._of(kept, columns)

    def subgraph(self, nodes: Bool[np.ndarray, " nodes"]) -> Graph:
        """The graph of some nodes and of the edges between them.

        nodes: of each node whether it is kept."""
        return self._of(nodes, self.edge_columns[self.edge_columns.between(nodes)])

    def _of(self, nodes: Bool[np.ndarray, " nodes"], edges: Edges) -> Graph:
        """edges: those that stay, in the numbers of before."""
        moved = (np.cumsum(nodes) - 1).astype(np.int32)
        return replace(
            self,
            node_columns=self.node_columns[nodes],
            edge_columns=Edges(moved[edges.source], moved[edges.target], edges.weight),
            target_weights=self.target_weights[nodes],
            bias=None if self.bias is None else self.bias[nodes],
            reached=None if self.reached is None else self.reached[nodes],
        )
