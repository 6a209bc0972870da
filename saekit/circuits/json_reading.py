"""Reading the field's JSON of attribution graphs: whatever is wrong with a file is one sentence."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saekit.circuits.columns import ERROR, LOGIT, TOKEN, Edges, Nodes
from saekit.circuits.graph_json import OURS, TYPES, output_name, records, renamed, target_of, written_ids
from saekit.files.choices import unknown
from saekit.files.paths import shown

NEEDED = {"node_id": str, "feature_type": str, "layer": str | int, "ctx_idx": int}
LARGEST = float(np.finfo(np.float32).max)
PRUNED = ("nodes", "edges", "of_nodes", "of_edges", "replacement", "completeness")
COLUMNS = ("clerp", "influence", "bias")  # of a node: they have places of their own
_FEATURE = re.compile(r"[0-9]+_([0-9]+)_[0-9]+")
_TOKEN = re.compile(r"E_([0-9]+)_[0-9]+")


def read_graph(file: Path) -> dict[str, Any]:
    """What ``Graph`` is made of. file: the JSON.

    Links to nodes that are not there are left out, with a warning; so are links of weight 0. Raises ValueError for
    everything else that is wrong, and FileNotFoundError."""
    content = _content(file)
    metadata, listed = content["metadata"], content["nodes"]
    nodes = _nodes(listed, file)
    weights = _column(listed, "token_prob", file)
    weights = np.zeros(len(nodes), dtype=np.float32) if weights is None else np.nan_to_num(weights)
    weights[nodes.kind != LOGIT] = 0
    nodes.activation[nodes.kind == LOGIT] = weights[nodes.kind == LOGIT]
    strings = [str(text) for text in metadata["prompt_tokens"]]
    places = {node["node_id"]: i for i, node in enumerate(listed)}
    edges, extra = _edges(content["links"], places, nodes.ids, file)
    labels, targets = _names(nodes, listed, strings, weights)
    ours = _object(metadata, OURS)
    about = _object(ours, "about") if ours else {"model": metadata.get("scan"), "prompt": metadata.get("prompt")}
    if not _is_pruned(about.get("pruned")):
        about.pop("pruned", None)
    about |= {
        "metadata": {key: value for key, value in metadata.items() if key != OURS},
        "qParams": renamed(_object(content, "qParams"), dict(zip(places, nodes.ids, strict=True))),
        "beside": {k: v for k, v in content.items() if k not in ("metadata", "qParams", "nodes", "links")},
        "nodes": _kept(nodes, listed, strings, weights),
        "links": extra,
    }
    return {
        "node_columns": nodes,
        "edge_columns": edges,
        "target_weights": weights,
        "tokens": _tokens(nodes, len(strings), ours),
        "strings": strings,
        "about": about,
        "bias": _column(listed, "bias", file),
        "reached": _column(listed, "influence", file),
        "labels": labels,
        "target_strings": targets,
    }


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {shown(file)}.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(file)} is no JSON: {error}.") from None
    kinds: dict[str, type] = {"metadata": dict, "nodes": list, "links": list}
    found = ", ".join(map(repr, list(content)[:8])) if isinstance(content, dict) else type(content).__name__
    for key, kind in kinds.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            wanted = "an object" if kind is dict else "a list"
            raise ValueError(f"{shown(file)} is no attribution graph: {key!r} is {wanted} there; found {found}.")
    if not isinstance(content["metadata"].get("prompt_tokens"), list):
        raise ValueError(f"{shown(file)} is no attribution graph: metadata has no list 'prompt_tokens'.")
    return content


def _nodes(listed: Sequence[Any], file: Path) -> Nodes:
    seen: dict[str, str] = {}
    rows = []
    for i, node in enumerate(listed):
        lacking = [
            key for key, kind in NEEDED.items() if not isinstance(node, dict) or not isinstance(node.get(key), kind)
        ]
        if lacking:
            raise ValueError(f"node {i} of {shown(file)} has no {lacking[0]!r}, or one of another kind.")
        each, kind = node["node_id"], TYPES.get(node["feature_type"])
        if kind is None:
            raise ValueError(unknown(f"the feature_type of node {each!r} cannot be", node["feature_type"], TYPES))
        if each in seen:
            both = f"as {seen[each]!r} and as {node['feature_type']!r}"
            raise ValueError(f"node_id {each!r} stands twice in {shown(file)}, {both}: links to it may mean either.")
        seen[each] = node["feature_type"]
        try:
            layer = -1 if kind == TOKEN else int(node["layer"]) - (kind == LOGIT)
            rows.append(np.array((kind, layer, node["ctx_idx"], _which(node, kind)), dtype=np.int64))
        except (TypeError, ValueError, OverflowError):
            said = {key: node.get(key) for key in ("layer", "ctx_idx", "feature")}
            raise ValueError(f"node {each!r} of {shown(file)} has what is no number among {said}.") from None
    kinds, layers, positions, numbers = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    activation = _column(listed, "activation", file)
    return Nodes.of(kinds, layers, positions, numbers, np.full(len(rows), np.nan) if activation is None else activation)


def _which(node: Mapping[str, Any], kind: int) -> int:
    """Latent or token: from node_id, where it stands in the usual form."""
    if kind == ERROR:
        return -1
    usual = (_TOKEN if kind == TOKEN else _FEATURE).fullmatch(str(node["node_id"]))
    given = int(usual[1]) if usual else node.get("feature")
    return -1 if given is None else int(given)


def _edges(
    links: Sequence[Any], places: Mapping[str, int], ids: Sequence[str], file: Path
) -> tuple[Edges, dict[tuple[str, str], Any]]:
    ends, weights, missing, extra = [], [], [], {}
    for i, link in enumerate(links):
        if not isinstance(link, dict) or not {"source", "target", "weight"} <= {*link}:
            raise ValueError(f"link {i} of {shown(file)} has no source, target and weight: found {link!r:.80}.")
        source, target, weight = link["source"], link["target"], link["weight"]
        if not _is_number(weight):
            raise ValueError(f"the weight of {source} → {target} in {shown(file)} is no finite number: {weight!r:.40}.")
        if not isinstance(source, str) or not isinstance(target, str) or not {source, target} <= places.keys():
            missing.append(f"{source} → {target}")
            continue
        s, t = places[source], places[target]
        ends.append((s, t))
        weights.append(weight)
        if len(link) > 3:
            extra[ids[s], ids[t]] = {k: v for k, v in link.items() if k not in ("source", "target", "weight")}
    if missing:
        warnings.warn(
            f"{len(missing):,} of {len(links):,} links in {shown(file)} lead from or to nodes that are not there, the "
            f"first {missing[0]}: they are left out.",
            stacklevel=4,
        )
    if len({*ends}) < len(ends):
        s, t = Counter(ends).most_common(1)[0][0]
        raise ValueError(f"{shown(file)} has several links {ids[s]} → {ids[t]}.")
    source_target = np.array(ends, dtype=np.int32).reshape(-1, 2)
    return Edges.of(source_target[:, 0], source_target[:, 1], weights), extra


def _names(
    nodes: Nodes, listed: Sequence[Mapping[str, Any]], strings: Sequence[str], weights: np.ndarray
) -> tuple[dict[str, str], dict[str, str]]:
    """Names that are not the usual ones, and the tokens of targets, by id."""
    labels, targets = {}, {}
    usual = records(nodes, nodes.ids, strings, weights)
    for each, node, record in zip(nodes.ids, listed, usual, strict=True):
        name, expected = str(node.get("clerp") or ""), record["clerp"]
        output = target_of(name) if record["feature_type"] == "logit" else None
        if output is not None:
            targets[each] = output
            expected = output_name(output, record["token_prob"])
        if name != expected:
            labels[each] = name
    return labels, targets


def _kept(
    nodes: Nodes, listed: Sequence[Mapping[str, Any]], strings: Sequence[str], weights: np.ndarray
) -> dict[str, dict[str, Any]]:
    """By id what a node has that would not be written so again."""
    kept = {}
    usual = records(nodes, written_ids(nodes.ids, {}), strings, weights)
    for each, node, record in zip(nodes.ids, listed, usual, strict=True):
        own = {k: v for k, v in node.items() if k not in COLUMNS and (k not in record or not _same(v, record[k]))}
        if own:
            kept[each] = own
    return kept


def _same(there: Any, here: Any) -> bool:
    """The same value, numbers as four bytes hold them."""
    if isinstance(here, float) and isinstance(there, int | float):
        return bool(np.float32(there) == np.float32(here))
    return there == here and type(there) is type(here)


def _tokens(nodes: Nodes, n: int, ours: Mapping[str, Any]) -> np.ndarray:
    given = ours.get("tokens")
    found = np.full(n, -1, dtype=np.int64)
    if isinstance(given, list) and len(given) == n:
        found[:] = given
        return found
    which = (nodes.kind == TOKEN) & (nodes.position >= 0) & (nodes.position < n)
    found[nodes.position[which]] = nodes.number[which]
    return found


def _column(listed: Sequence[Mapping[str, Any]], key: str, file: Path) -> np.ndarray | None:
    """A number of every node, NaN where there is none; None where no node has one."""
    found = np.full(len(listed), np.nan, dtype=np.float32)
    for i, node in enumerate(listed):
        value = node.get(key)
        if value is None:
            continue
        if not _is_number(value):
            raise ValueError(f"{key} of node {node['node_id']!r} in {shown(file)} is no finite number: {value!r:.40}.")
        found[i] = value
    return None if np.isnan(found).all() else found


def _is_number(value: Any) -> bool:
    """A number that four bytes can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _is_pruned(value: Any) -> bool:
    """What ``Graph.prune`` writes of itself."""
    return isinstance(value, dict) and all(_is_number(value.get(key)) for key in PRUNED)


def _object(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    return dict(value) if isinstance(value, dict) else {}
