"""summed: the graphs of many prompts as one. compared: what is in one graph and not in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from saekit.circuits.columns import TOKEN, Edges, Nodes
from saekit.circuits.graph import Graph

if TYPE_CHECKING:
    import pandas

ANYWHERE = "anywhere"  # the text of the one position that is left where positions are not told apart
DEFINITION = "share = influence of a node / influence of all nodes; overlap = Σ min(share a, share b)"


def summed(graphs: Sequence[Graph], positions: bool = False) -> Graph:
    """One graph of many: A[t, s] = Σ_g A_g[t, s] over nodes of the same kind, layer and number.

    Activations, biases and the targets' weights are added up too, so that incoming edges and bias are still the sum of
    the pre-activations, and what a target has is the sum of its probabilities. ``.about["graphs"]`` is how many
    there were, ``.about["seen_in"]`` in how many each node was.

    graphs:    of one model.
    positions: whether a latent at two positions is two nodes. False: it is one, at position 0, and so is what one
               prompt has of it at several positions.
    Returns a ``Graph``. For example ``sk.circuits.summed([sk.attribute(model, "micro", p) for p in prompts])``.
    Raises ValueError for no graph, graphs of different models and, with positions, prompts of different lengths.
    """
    if not len(graphs):
        raise ValueError("there is no graph to sum: graphs is empty.")
    _check_one_model(graphs)
    lengths = sorted({len(graph.strings) for graph in graphs})
    if positions and len(lengths) > 1:
        raise ValueError(
            f"positions of prompts of {lengths[0]} to {lengths[-1]} tokens are not the same: positions=False takes "
            "nodes together wherever they are."
        )
    keys = [_keys(graph, positions) for graph in graphs]
    found, places = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    own = np.split(places.reshape(-1), np.cumsum([len(key) for key in keys])[:-1])
    n = len(found)
    kinds, layers, where, numbers = found.T
    nodes = Nodes.of(kinds, layers, where, numbers, _added(own, [graph.node_columns.activation for graph in graphs], n))
    biases = [graph.bias for graph in graphs if graph.bias is not None]
    seen = np.sum([np.bincount(np.unique(each), minlength=n) for each in own], axis=0).tolist()
    return Graph(
        nodes,
        _edges(graphs, own, n),
        _added(own, [graph.target_weights for graph in graphs], n),
        *_prompt(graphs, positions),
        about={
            **{key: graphs[0].about[key] for key in ("model", "model_hash", "dictionaries") if key in graphs[0].about},
            "prompt": f"{len(graphs)} prompts",
            "graphs": len(graphs),
            "seen_in": dict(zip(nodes.ids, seen, strict=True)),
        },
        bias=_added(own, biases, n) if len(biases) == len(graphs) else None,
        labels=_named([graph.labels if positions else _with_texts(graph) for graph in graphs], graphs, own, nodes.ids),
        target_strings=_named([graph.target_strings for graph in graphs], graphs, own, nodes.ids),
    )


@dataclass(frozen=True, eq=False, repr=False)
class GraphComparison:
    """Two graphs beside each other.

    nodes:   a row a node of either: id, kind, layer, label, share_a, share_b (of all influence), change = share_b −
             share_a; the largest changes first.
    edges:   a row an edge of either: source, target, weight_a, weight_b; 0 where a graph does not have it.
    overlap: Σ min(share_a, share_b): 1 where every node has the same share in both, 0 where none is in both.
    """

    nodes: pandas.DataFrame
    edges: pandas.DataFrame
    overlap: float

    def frame(self) -> pandas.DataFrame:
        """``nodes``."""
        return self.nodes

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return f"overlap {self.overlap:.3f}\n{text_table(self._rows)}\n.nodes, .edges"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self._rows, caption=f"Two graphs: overlap {self.overlap:.3f}", header=DEFINITION)

    @property
    def _rows(self) -> list[dict[str, object]]:
        rows = self.nodes.head(10).to_dict(orient="records")
        shares = ("share_a", "share_b", "change")
        return [
            {str(k): f"{v:+.1%}" if k == "change" else f"{v:.1%}" if k in shares else v for k, v in row.items()}
            for row in rows
        ]


def compared(a: Graph, b: Graph, positions: bool = False) -> GraphComparison:
    """What two graphs have in common and what only one has, by each node's share of all influence.

    a, b: graphs of one model, such as of a prompt and of one with a word changed.
    positions: as in ``summed``. Returns a ``GraphComparison``. Raises ValueError as ``summed`` does.
    """
    import pandas

    _check_one_model([a, b])
    one, other = (summed([graph], positions) for graph in (a, b))
    sides = [graph.nodes.set_index("id") for graph in (one, other)]
    facts = pandas.concat(sides)[["kind", "layer", "label"]]
    nodes = facts[~facts.index.duplicated()].copy()
    for name, side in zip(("share_a", "share_b"), sides, strict=True):
        nodes[name] = (side.influence / (side.influence.sum() or 1.0)).reindex(nodes.index, fill_value=0.0)
    nodes["change"] = nodes.share_b - nodes.share_a
    overlap = float(nodes[["share_a", "share_b"]].min(axis=1).sum())
    order = nodes.change.abs().sort_values(ascending=False, kind="stable").index
    edges = one.edges.merge(other.edges, on=["source", "target"], how="outer", suffixes=("_a", "_b")).fillna(0.0)
    return GraphComparison(nodes.loc[order].reset_index(), edges, overlap)


def _check_one_model(graphs: Sequence[Graph]) -> None:
    found: dict[str, list[Any]] = {
        "layers": [graph.n_layers for graph in graphs],
        "model": [graph.about.get("model") for graph in graphs],
        "model_hash": [graph.about.get("model_hash") for graph in graphs],
    }
    for name, values in found.items():
        known = list(dict.fromkeys(str(value) for value in values if value is not None))
        if len(known) > 1:
            raise ValueError(f"graphs are of one model, found {name} {known[0]} and {known[1]}.")


def _keys(graph: Graph, positions: bool) -> np.ndarray:
    """[n, 4]: kind, layer, position, number."""
    nodes = graph.node_columns
    where = nodes.position if positions else np.zeros_like(nodes.position)
    return np.stack([nodes.kind, nodes.layer, where, nodes.number], axis=1).astype(np.int64)


def _added(own: Sequence[np.ndarray], values: Sequence[np.ndarray], n: int) -> np.ndarray:
    """Of each node of the whole the sum of what it has; NaN where it has nothing."""
    total, present = np.zeros(n), np.zeros(n, dtype=bool)
    for where, each in zip(own, values, strict=True):
        known = ~np.isnan(each)
        np.add.at(total, where[known], each[known])
        present[where[known]] = True
    return np.where(present, total, np.nan).astype(np.float32)


def _edges(graphs: Sequence[Graph], own: Sequence[np.ndarray], n: int) -> Edges:
    pairs = [
        where[graph.edge_columns.target].astype(np.int64) * n + where[graph.edge_columns.source]
        for where, graph in zip(own, graphs, strict=True)
    ]
    found, places = np.unique(np.concatenate(pairs), return_inverse=True)
    weights = np.concatenate([graph.edge_columns.weight for graph in graphs])
    return Edges.of(found % n, found // n, np.bincount(places, weights=weights, minlength=len(found)))


def _prompt(graphs: Sequence[Graph], positions: bool) -> tuple[np.ndarray, list[str]]:
    """Tokens and texts: those that all have, else −1 and what the first few have."""
    if not positions:
        return np.full(1, -1, dtype=np.int64), [ANYWHERE]
    tokens = np.stack([graph.tokens for graph in graphs])
    same = (tokens == tokens[0]).all(0)
    columns = zip(*(graph.strings for graph in graphs), strict=True)
    texts = ["|".join(list(dict.fromkeys(column))[:3]) for column in columns]
    return np.where(same, tokens[0], -1), texts


def _with_texts(graph: Graph) -> dict[str, str]:
    """Names, and of tokens their texts, which no position tells any more."""
    rows = zip(graph.ids, graph.node_columns.kind.tolist(), graph.node_columns.position.tolist(), strict=True)
    texts = {each: graph.strings[at] for each, kind, at in rows if kind == TOKEN and 0 <= at < len(graph.strings)}
    return {**texts, **graph.labels}


def _named(
    names: Sequence[Mapping[str, str]], graphs: Sequence[Graph], own: Sequence[np.ndarray], ids: Sequence[str]
) -> dict[str, str]:
    """Names by the new ids; the first graph's counts where several have one."""
    found: dict[str, str] = {}
    for each, graph, where in zip(names, graphs, own, strict=True):
        for old, place in zip(graph.ids, where.tolist(), strict=True):
            if old in each:
                found.setdefault(ids[place], each[old])
    return found
