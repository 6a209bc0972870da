"""Graphs of several prompts summed and two compared, beside sums over dictionaries."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from graphs import hand_made, random_graph

from saekit.circuits import Graph, compared, summed


def changed(graph: Graph, **more: Any) -> Graph:
    return Graph(**{**{name: getattr(graph, name) for name in graph.__dataclass_fields__}, **more})


def anywhere(node: str) -> str:
    return node[: node.rindex("_")] + "_0"


@pytest.mark.parametrize("positions", [False, True])
def test_edges_biases_and_weights_add_up(positions: bool) -> None:
    draw = np.random.default_rng(0)
    graphs = [random_graph(seed) for seed in range(4)]
    graphs = [changed(graph, bias=draw.normal(size=len(graph.ids)).astype(np.float32)) for graph in graphs]
    whole = summed(graphs, positions)
    edges, biases, weights, seen = Counter[Any](), Counter[str](), Counter[str](), Counter[str]()
    for graph in graphs:
        name = {each: each if positions else anywhere(each) for each in graph.ids}
        for row in graph.edges.itertuples():
            edges[name[row.source], name[row.target]] += row.weight
        for each, bias, weight in zip(graph.ids, graph.bias, graph.target_weights, strict=True):
            biases[name[each]] += bias
            weights[name[each]] += weight
        seen.update({*name.values()})
    found = {(row.source, row.target): row.weight for row in whole.edges.itertuples()}
    assert found == pytest.approx(dict(edges), rel=1e-4, abs=1e-5)
    assert dict(zip(whole.ids, whole.bias, strict=True)) == pytest.approx(dict(biases), rel=1e-4, abs=1e-5)
    assert dict(zip(whole.ids, whole.target_weights, strict=True)) == pytest.approx(dict(weights), rel=1e-5)
    assert whole.about["seen_in"] == dict(seen) and whole.about["graphs"] == 4
    assert len(whole.strings) == (3 if positions else 1)
    assert 0 < whole.scores.replacement < 1 and len(whole.prune().ids) <= len(whole.ids)


def test_a_graph_and_itself_are_twice_the_graph() -> None:
    graph = hand_made(labels={"0_7_0": "a"}, target_strings={"3_200_1": " are"})
    twice = summed([graph, graph], positions=True)
    assert sorted(twice.ids) == sorted(graph.ids) and twice.strings == graph.strings
    np.testing.assert_array_equal(twice.tokens, graph.tokens)
    assert (twice.labels, twice.target_strings, twice.bias) == (graph.labels, graph.target_strings, None)
    rows = {(row.source, row.target): row.weight for row in twice.edges.itertuples()}
    assert rows == {(row.source, row.target): 2 * row.weight for row in graph.edges.itertuples()}
    assert twice.scores.replacement == pytest.approx(graph.scores.replacement)
    assert np.isnan(twice.node_columns.activation[twice.node_columns.kind == 2]).all()


def test_a_token_without_a_position_has_its_text_as_its_name() -> None:
    whole = summed([hand_made(labels={"E_100_0": "article", "0_7_0": "a"})])
    assert whole.labels == {"E_100_0": "article", "E_101_0": " keys", "0_7_0": "a"}
    assert list(whole.strings) == ["anywhere"] and set(whole.nodes.token) == {"anywhere"}


def test_prompts_that_differ_in_a_token() -> None:
    graph = hand_made()
    nodes = graph.node_columns
    number = np.where(nodes.number == 101, 102, nodes.number)
    other = type(nodes)(nodes.kind, nodes.layer, nodes.position, number, nodes.activation)
    second = changed(graph, node_columns=other, strings=["The", " boys"], tokens=np.array([100, 102]))
    whole = summed([graph, second], positions=True)
    assert list(whole.strings) == ["The", " keys| boys"] and whole.tokens.tolist() == [100, -1]
    assert whole.about["seen_in"]["E_101_1"] == 1 and whole.about["seen_in"]["1_3_1"] == 2


def test_a_comparison_by_hand() -> None:
    """Without 4 → 6 node 6 is fed by node 2 alone, which gets the 15/64 that the error had and passes them on to 0."""
    graph = hand_made(labels={"0_7_0": "a"})
    edges = graph.edge_columns
    fewer = changed(graph, edge_columns=edges[~((edges.source == 4) & (edges.target == 6))])
    found = compared(graph, fewer, positions=True)
    nodes = found.nodes.set_index("id")
    assert nodes.share_a["error_0_1"] == pytest.approx(15 / 105) and nodes.share_b["error_0_1"] == 0
    total = 105 - 15 + 15 + 15
    assert nodes.share_b["0_7_0"] == pytest.approx((13 + 15) / total)
    assert nodes.change["0_7_0"] == pytest.approx(28 / total - 13 / 105) and nodes.label["0_7_0"] == "a"
    assert found.nodes.change.abs().is_monotonic_decreasing and found.frame() is found.nodes
    assert found.overlap == pytest.approx(1 - nodes.change.abs().sum() / 2)
    gone = found.edges.set_index(["source", "target"]).loc[("error_0_1", "1_4_1")]
    assert (gone.weight_a, gone.weight_b) == (3, 0)
    assert "overlap 0." in repr(found) and "<table" in found._repr_html_()
    same = compared(graph, graph)
    assert same.overlap == pytest.approx(1) and not same.nodes.change.any()


def test_what_cannot_be_summed_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="there is no graph to sum"):
        summed([])
    with pytest.raises(ValueError, match="one model, found layers 3 and 5"):
        summed([random_graph(0), random_graph(0, layers=5)])
    with pytest.raises(ValueError, match="one model, found model_hash x and y"):
        compared(hand_made(about={"model_hash": "x"}), hand_made(about={"model_hash": "y"}))
    with pytest.raises(ValueError, match="prompts of 2 to 3 tokens are not the same: positions=False"):
        summed([random_graph(0, positions=2), random_graph(0, positions=3)], positions=True)
