"""Graphs as columns, frames and pictures, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import hand_made, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from saekit.circuits import Edges, Graph, Nodes

HOSTILE = "<script>alert(1)</script>\x1b[31m"


def test_every_node_has_an_id_and_is_found_by_it() -> None:
    graph = hand_made()
    expected = "E_100_0 E_101_1 0_7_0 0_8_1 error_0_1 1_3_1 1_4_1 error_1_1 1_5_0 3_200_1 3_201_1 0_9_0"
    assert graph.ids == tuple(expected.split())
    assert [graph.index(each) for each in graph.ids] == list(range(12))
    with pytest.raises(ValueError, match=r"there is no node '1_3_2'; the closest is '1_3_1'"):
        graph.index("1_3_2")


def test_frames() -> None:
    graph = hand_made(labels={"1_3_1": "plural"}, target_strings={"3_200_1": " are"})
    row = graph.nodes.set_index("id").loc["1_3_1"]
    assert (row.kind, row.layer, row.position, row.token, row.number) == ("feature", 1, 1, " keys", 3)
    assert (row.activation, row.influence, row.label) == (1.5, 0.25, "plural")
    assert graph.nodes.set_index("id").token["3_200_1"] == " are"
    assert graph.edges.set_index(["source", "target"]).weight["error_0_1", "1_4_1"] == 3
    assert (graph.edges.groupby("target").weight.sum()["3_200_1"], len(graph.edges)) == (2, 14)
    assert graph.n_layers == 2


def test_of_networkx() -> None:
    networkx = pytest.importorskip("networkx")
    found = hand_made().to_networkx()
    assert found.nodes["1_3_1"]["influence"] == 0.25 and found.edges["error_0_1", "1_4_1"]["weight"] == 3
    assert networkx.is_directed_acyclic_graph(found) and found.number_of_edges() == 14
    assert networkx.descendants(found, "0_8_1") == {"1_3_1", "1_5_0", "3_200_1"}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_subgraph_has_the_same_nodes_and_edges(seed: int, which: int) -> None:
    graph = random_graph(seed)
    bias = np.arange(len(graph.ids), dtype=np.float32)
    graph = graph_of(**vars_of(graph) | {"bias": bias})
    kept = np.random.default_rng(which).random(len(graph.node_columns)) < 0.6
    part = graph.subgraph(kept)
    assert part.ids == tuple(np.array(graph.ids)[kept])
    rows = graph.edges[graph.edges.source.isin(part.ids) & graph.edges.target.isin(part.ids)]
    expected = {(row.source, row.target): row.weight for row in rows.itertuples()}
    assert {(row.source, row.target): row.weight for row in part.edges.itertuples()} == expected
    np.testing.assert_array_equal(part.target_weights, graph.target_weights[kept])
    np.testing.assert_array_equal(part.bias, bias[kept])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_edges_are_sorted_and_none_is_0(seed: int) -> None:
    draw = np.random.default_rng(seed)
    pairs = draw.choice(100, size=30, replace=False)
    weights = draw.choice([0, -1, 0.5], size=30)
    edges = Edges.of(pairs // 10, pairs % 10, weights)
    key = edges.target.astype(int) * 10 + edges.source
    assert (np.diff(key) > 0).all() and edges.sorted
    expected = {(s, t): w for s, t, w in zip(pairs // 10, pairs % 10, weights, strict=True) if w}
    assert dict(zip(zip(edges.source, edges.target, strict=True), edges.weight, strict=True)) == expected
    for node, (begin, end) in enumerate(zip(edges.starts(10)[:-1], edges.starts(10)[1:], strict=True)):
        assert (edges.target[begin:end] == node).all()
    assert edges.starts(10)[-1] == len(edges)


def test_order_is_seen_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saekit.circuits.columns.BLOCK", 3)
    edges = hand_made().edge_columns
    assert edges.sorted and Edges.of([], [], []).sorted
    for i in range(len(edges) - 1):
        order = np.arange(len(edges))
        order[[i, i + 1]] = order[[i + 1, i]]
        assert not edges[order].sorted, i


def vars_of(graph: Graph) -> dict[str, Any]:
    return {name: getattr(graph, name) for name in graph.__dataclass_fields__}


def graph_of(**changed: Any) -> Graph:
    return Graph(**vars_of(hand_made()) | changed)


NODES = hand_made().node_columns
REFUSED: dict[str, tuple[Any, str]] = {
    "weight nan": (lambda: Edges.of([0], [1], [np.nan]), r"weight of an edge is a finite number, found nan at 0 → 1"),
    "edge twice": (
        lambda: Edges.of([0, 0], [1, 1], [1, 2]),
        r"at most one edge between two nodes, .* several of 0 → 1",
    ),
    "edges of lengths": (lambda: Edges.of([0, 1], [1], [1]), r"columns of Edges are equally long, found source 2"),
    "kind": (lambda: Nodes.of([4], [0], [0], [0], [0]), r"a kind of node is a number from 0 to 3, found 4"),
    "layer": (lambda: Nodes.of([1], [40_000], [0], [0], [0]), r"layer of a node .* int16 holds, found 40000"),
    "no such node": (lambda: graph_of(edge_columns=Edges.of([0], [12], [1])), r"edges join nodes 0 to 11, found 12"),
    "unsorted": (
        lambda: graph_of(edge_columns=Edges.of([0, 1], [2, 3], [1, 1])[np.array([1, 0])]),
        r"edges are sorted .*Edges\.of",
    ),
    "weights": (lambda: graph_of(target_weights=np.ones(3, np.float32)), r"target_weights has .* 12 nodes, found 3"),
    "bias": (lambda: graph_of(bias=np.ones(3, np.float32)), r"bias has a number for each of 12 nodes, found 3"),
    "strings": (lambda: graph_of(strings=["a"]), r"each token has its text, found 2 tokens, 1 texts"),
    "same id": (
        lambda: Graph(NODES[np.array([0, 1, 1])], Edges.of([], [], []), np.zeros(3, np.float32), np.arange(1), ["a"]),
        r"every node has an id of its own, found 'E_101_1' twice",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_one_sentence(name: str) -> None:
    call, said = REFUSED[name]
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_column_of_another_type_is_refused() -> None:
    from saekit.circuits.columns import EDGE_TYPES, _check

    class Wide:
        source, target, weight = np.zeros(2, int), np.zeros(2, np.int32), np.zeros(2, np.float32)

    with pytest.raises(TypeError, match=r"source of Wide is int32, found int64: Wide\.of\(…\) makes it so"):
        _check(Wide(), EDGE_TYPES)  # type: ignore[arg-type]


def test_as_text_and_as_a_picture() -> None:
    graph = hand_made(about={"prompt": HOSTILE}, labels={"1_4_1": HOSTILE}, target_strings={"3_200_1": HOSTILE})
    text, picture = repr(graph), graph._repr_html_()
    assert "2 tokens, 6 features, 2 errors, 2 logits; 14 edges" in text and "replacement 0.521" in text
    assert text.index("1_4_1") < text.index("E_100_0") < text.index("error_0_1")  # 20, 17, 15
    assert "19.0%" in text and "\x1b" not in text and len(text.splitlines()) <= 25
    assert "<script>" not in picture and "&lt;script&gt;" in picture and "held as they were" in picture
    assert "pruned from 12 nodes and 14 edges; of the whole: replacement 0.521" in repr(graph.prune())


def test_a_real_graph_as_text(real_folder: Path) -> None:
    graph = Graph.from_json(real_folder / "attribution_graphs" / "bee-insect-clt.json")
    assert "' insect' 0.62" in repr(graph) and len(repr(graph)) < 3000
    assert len(graph.strongest(5)) == 5 and graph.strongest(5).influence.is_monotonic_decreasing


def test_errors_that_begin_most_of_it_are_said() -> None:
    graph = hand_made()
    edges = graph.edge_columns
    louder = np.where(np.isin(edges.source, [4, 7]), 9, edges.weight).astype(np.float32)
    loud = graph_of(edge_columns=Edges(edges.source, edges.target, louder))
    assert loud.scores.replacement < 0.5 and "errors, which nobody has explained, begin" in str(loud.scores)
