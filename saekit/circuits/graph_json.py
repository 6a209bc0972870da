"""The field's JSON of attribution graphs, as circuit-tracer and Neuronpedia write and read it (schema 1).

``metadata``, ``qParams`` (what a viewer shows), ``nodes`` and ``links``. Two things of it are mapped: an error's id,
``0_{layer}_{position}``, may be that of a feature of layer 0, and is written so only where it is not; and ``feature``
is Cantor's number of layer and latent in some files, 100,000 · layer + latent in others: what it is of is read from
``node_id``. What a file has and saekit has no place for is kept in ``about`` and written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from saekit.circuits.columns import ERROR, FEATURE, LOGIT, TOKEN, Nodes
from saekit.files.writing import write_atomically

TYPES = {
    "embedding": TOKEN,
    "cross layer transcoder": FEATURE,
    "lorsa": FEATURE,
    "mlp reconstruction error": ERROR,
    "lorsa error": ERROR,
    "logit": LOGIT,
}
WRITTEN = {TOKEN: "embedding", FEATURE: "cross layer transcoder", ERROR: "mlp reconstruction error", LOGIT: "logit"}
OURS = "saekit"  # in metadata: what the format has no place for
OF_A_FILE = ("metadata", "qParams", "beside", "nodes", "links")  # in about: what else a file has
NAMED = ("pinnedIds", "hiddenIds", "clickedId", "supernodes")  # in qParams: ids of nodes
LINKS_AT_ONCE = 100_000
_OUTPUT = re.compile(r'(?s).*Output "(.*)" \(p=[0-9.e+-]+\)')


def write_graph(file: Path, graph: Any) -> None:
    """Write a graph whole or not at all, links a part at a time. graph: a ``Graph``. Raises NotWritten, an OSError."""
    ids = written_ids(graph.ids, graph.about.get("nodes", {}))
    nodes = list(_records(graph, ids))
    names = dict(zip(graph.ids, ids, strict=True))
    head = {
        "metadata": _metadata(graph),
        "qParams": renamed(graph.about.get("qParams", {}), names),
        **graph.about.get("beside", {}),
        "nodes": nodes,
    }

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as out:
            out.write(json.dumps(plain(head), allow_nan=False)[:-1] + ', "links": [')
            for part in _links(graph, ids):
                out.write(part)
            out.write("]}")

    write_atomically(file, write)


def written_ids(ids: Sequence[str], kept: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The ids of a file: its own, else errors as ``0_{layer}_{position}`` where no other node is called so.

    ids: those of the graph. kept: fields of a file's nodes, by id."""
    taken = {*ids}
    found = []
    for each in ids:
        short = each.replace("error_", "0_", 1)
        found.append(kept.get(each, {}).get("node_id") or (each if short in taken else short))
    return found


def renamed(view: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """qParams with other ids for its nodes; an id that is not known stays. view: qParams. names: new ids by old."""

    def other(value: Any) -> Any:
        if isinstance(value, list):
            return [other(each) for each in value]
        return names.get(value, value) if isinstance(value, str) else value

    def of_group(group: Any) -> Any:  # a name, then ids
        return [group[0], *other(group[1:])] if isinstance(group, list) and group else group

    found = {}
    for key, value in view.items():
        if key == "supernodes" and isinstance(value, list):
            found[key] = [of_group(group) for group in value]
        else:
            found[key] = other(value) if key in NAMED else value
    return found


def records(
    nodes: Nodes, ids: Sequence[str], strings: Sequence[str], weights: Float32[np.ndarray, " nodes"]
) -> Iterator[dict[str, Any]]:
    """A node at a time as the field writes it, but for its name and influence.

    nodes: columns. ids: those of the file. strings: the prompt's tokens. weights: of the targets."""
    columns = (nodes.kind, nodes.layer, nodes.position, nodes.number, nodes.activation, weights)
    first = float(weights.max(initial=0))
    rows = zip(ids, *(column.tolist() for column in columns), strict=True)
    for each, kind, layer, position, number, activation, weight in rows:
        text = strings[position] if 0 <= position < len(strings) else ""
        feature, shown, script, name = {
            TOKEN: (position, "E", f"E_{number}-{position}", f'Emb: " {text}"'),
            FEATURE: (cantor(layer, number), str(layer), f"{layer}_{number}-0", ""),
            ERROR: (-1, str(layer), f"{layer}_{position}-0", f'Err: mlp " {text}"'),
            LOGIT: (number, str(layer + 1), f"L_{number}-{position}", ""),
        }[kind]
        yield {
            "node_id": each,
            "feature": feature,
            "layer": shown,
            "ctx_idx": position,
            "feature_type": WRITTEN[kind],
            "token_prob": weight if kind == LOGIT else 0,
            "is_target_logit": kind == LOGIT and weight == first,
            "run_idx": 0,
            "reverse_ctx_idx": 0,
            "jsNodeId": script,
            "clerp": name,
            "activation": activation if kind != LOGIT and np.isfinite(activation) else None,
        }


def output_name(text: str, probability: float) -> str:
    """What a logit is called. text: its token. probability: its own."""
    return f'Output "{text}" (p={probability:.3f})'


def target_of(name: str) -> str | None:
    """The token in what a logit is called, whatever stands before; None in another name. name: such a name."""
    found = _OUTPUT.fullmatch(name)
    return found[1] if found else None


def cantor(x: int, y: int) -> int:
    """One number for two: (x + y)(x + y + 1) / 2 + y. x: layer. y: latent."""
    return (x + y) * (x + y + 1) // 2 + y


def plain(value: Any) -> Any:
    """A value as JSON has it: mappings and lists of numbers and text; what is not finite is null. value: any."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def _records(graph: Any, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    columns, kept = graph.node_columns, graph.about.get("nodes", {})
    rows = records(columns, ids, graph.strings, graph.target_weights)
    for i, (own, record) in enumerate(zip(graph.ids, rows, strict=True)):
        if own in graph.target_strings:
            record["clerp"] = output_name(graph.target_strings[own], record["token_prob"])
        if own in graph.labels:
            record["clerp"] = graph.labels[own]
        for name in ("reached", "bias"):
            values = getattr(graph, name)
            if values is not None:
                record["influence" if name == "reached" else name] = float(values[i])
        yield {**record, **kept.get(own, {})}


def _links(graph: Any, ids: Sequence[str]) -> Iterator[str]:
    texts = [json.dumps(each) for each in ids]
    edges, extra = graph.edge_columns, graph.about.get("links", {})
    for begin in range(0, len(edges), LINKS_AT_ONCE):
        part = slice(begin, begin + LINKS_AT_ONCE)
        rows = zip(edges.source[part].tolist(), edges.target[part].tolist(), edges.weight[part].tolist(), strict=True)
        lines = []
        for s, t, weight in rows:
            more = extra.get((graph.ids[s], graph.ids[t])) if extra else None
            rest = ", " + json.dumps(plain(more))[1:-1] if more else ""
            lines.append(f'{{"source": {texts[s]}, "target": {texts[t]}, "weight": {weight!r}{rest}}}')
        yield (", " if begin else "") + ", ".join(lines)


def _metadata(graph: Any) -> dict[str, Any]:
    from saekit import __version__

    about = {key: value for key, value in graph.about.items() if key not in OF_A_FILE}
    prompt = str(about.get("prompt", "".join(graph.strings)))
    found = {
        "slug": re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60] or "graph",
        "scan": str(about.get("model", "unknown")),
        "transcoder_list": [],
        "prompt_tokens": list(graph.strings),
        "prompt": prompt,
        "schema_version": 1,
        "info": {"generator": {"name": "saekit", "version": __version__}},
        **graph.about.get("metadata", {}),
        OURS: {"about": about, "tokens": graph.tokens},
    }
    if isinstance(about.get("settings"), Mapping):
        found.setdefault("generation_settings", about["settings"])
    if "pruned" in about:
        shares = {"node_threshold": about["pruned"]["nodes"], "edge_threshold": about["pruned"]["edges"]}
        found |= {"node_threshold": shares["node_threshold"], "pruning_settings": shares}
    return found
