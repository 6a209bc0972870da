"""Graph: why a model said what it said, as features, errors, tokens and logits and what each adds to each
(attribution graphs; Ameisen et al. 2025, "Circuit tracing", transformer-circuits.pub)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from saekit.circuits.columns import KINDS, LOGIT, Edges, Nodes
from saekit.circuits.drawing import heading, rows
from saekit.circuits.graph_json import write_graph
from saekit.circuits.json_reading import read_graph
from saekit.circuits.pruning import Scores, flow, prune, scores
from saekit.files.arguments import number
from saekit.files.choices import unknown
from saekit.files.paths import resolved

if TYPE_CHECKING:
    import networkx
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
    labels:         names of nodes, by id, such as a person gave them.
    target_strings: the text of each target, by id.
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
    target_strings: Mapping[str, str] = field(default_factory=dict)

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

    @property
    def ids(self) -> tuple[str, ...]:
        """A name for each node: feature "{layer}_{number}_{position}", error "error_{layer}_{position}", token
        "E_{id}_{position}", logit "{n_layers + 1}_{id}_{position}"."""
        return self.node_columns.ids

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
        """A row a node: id, kind, layer, position, token (the text there, or of a target its own), number, activation,
        influence, label."""
        import pandas

        columns = self.node_columns
        texts = dict(enumerate(self.strings))
        return pandas.DataFrame(
            {
                "id": self.ids,
                "kind": [KINDS[kind] for kind in columns.kind],
                "layer": columns.layer,
                "position": columns.position,
                "token": [
                    self.target_strings.get(each, texts.get(position, ""))
                    for each, position in zip(self.ids, columns.position.tolist(), strict=True)
                ],
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
                near = f": {share:g} % is {share / 100:g}" if share <= 100 else ""
                raise ValueError(f"{name} is a share, above 0 and at most 1, found {share!r}{near}.")
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

    # -- files ---------------------------------------------------------------------------------------------------------

    def to_json(self, path: str | Path) -> Path:
        """Write the field's JSON, which circuit-tracer's and Neuronpedia's viewers open; large graphs are pruned first.

        path: of the file; one that is there is replaced. Returns it. Raises OSError where it cannot be written."""
        file = resolved(path, "path")
        write_graph(file, self)
        return file

    @classmethod
    def from_json(cls, path: str | Path) -> Graph:
        """A graph from the field's JSON, as circuit-tracer, Neuronpedia and ``to_json`` write it.

        path: of the file. What it has that a graph has no place for is kept in ``about`` and written by ``to_json``:
        ``about["qParams"]`` is what a viewer showed, with the ids of this graph. Links to nodes that are not there are
        left out, with a warning, and so are those of weight 0.
        Raises ValueError in one sentence for what is no such file: nodes with the same id or of another kind, links
        twice or in a circle, weights that are not finite.
        """
        graph = cls(**read_graph(resolved(path, "path")))
        flow(graph.node_columns, graph.edge_columns, graph.target_weights)  # finds a circle
        return graph

    def to_networkx(self) -> networkx.DiGraph:
        """The graph for networkx: nodes by id with the columns of ``nodes`` as attributes, edges with ``weight``."""
        import networkx

        found = networkx.DiGraph()
        rows = self.nodes.set_index("id").to_dict(orient="index")
        found.add_nodes_from(rows.items())
        edges = self.edges
        found.add_weighted_edges_from(zip(edges.source, edges.target, edges.weight.astype(float), strict=True))
        return found

    # -- as it is drawn ------------------------------------------------------------------------------------------------

    def strongest(self, n: int = 10) -> pandas.DataFrame:
        """The rows of ``nodes`` with the most influence, from the first on, targets left out. n: how many."""
        others = self.nodes[self.nodes.kind != "logit"]
        return others.sort_values("influence", ascending=False, kind="stable").head(n)

    def __repr__(self) -> str:
        from saekit.plots import shown, text_table

        above = "\n".join(map(shown, heading(self).splitlines()))
        return f"{above}\n{text_table(rows(self))}\n.prune(), .nodes, .edges, .scores, .to_json(path)"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(
            rows(self), caption="The nodes with the most influence", header=f"{heading(self)}\n{DEFINITION}"
        )
