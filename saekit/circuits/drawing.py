"""An attribution graph in a few lines: the prompt, what is explained and how well, and its strongest nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from saekit.circuits.columns import KINDS
from saekit.circuits.pruning import Scores

TARGETS = 3  # that are named
LONGEST = 120  # characters of a prompt


def heading(graph: Any) -> str:
    """Three lines: prompt and targets, what the graph has, its scores. graph: a ``Graph``."""
    nodes = graph.nodes
    targets = nodes[nodes.kind == "logit"].sort_values("activation", ascending=False).head(TARGETS)
    said = ", ".join(f"{token!r} {p:.2f}" for token, p in zip(targets.token, targets.activation, strict=True))
    prompt = repr(str(graph.about.get("prompt", "".join(graph.strings))))
    prompt = prompt if len(prompt) <= LONGEST else f"{prompt[: LONGEST - 1]}…"
    counts = np.bincount(graph.node_columns.kind, minlength=len(KINDS)).tolist()
    sizes = ", ".join(f"{n:,} {kind}{'s' * (n != 1)}" for n, kind in zip(counts, KINDS, strict=True))
    edges = f"{len(graph.edge_columns):,} edges"
    return f"{prompt} → {said or 'no target'}\n{sizes}; {edges}\n{_scored(graph)}"


def _scored(graph: Any) -> str:
    pruned = graph.about.get("pruned")
    if not pruned:
        return str(graph.scores)
    whole = Scores(pruned["replacement"], pruned["completeness"])
    return f"pruned from {pruned['of_nodes']:,} nodes and {pruned['of_edges']:,} edges; of the whole: {whole}"


def rows(graph: Any) -> list[dict[str, object]]:
    """The strongest nodes, a mapping each; influence as a share of all. graph: a ``Graph``."""
    total = float(graph.influence.sum()) or 1.0
    return [
        {
            "node": row["id"],
            "kind": row["kind"],
            "layer": None if row["layer"] < 0 else row["layer"],
            "at": row["token"],
            "activation": None if np.isnan(row["activation"]) else row["activation"],
            "influence": f"{row['influence'] / total:.1%}",
            "label": row["label"],
        }
        for row in graph.strongest().to_dict(orient="records")
    ]
