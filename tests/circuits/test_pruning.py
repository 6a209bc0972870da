"""Influence, scores and pruning: worked out by hand, and beside dense matrices in float64 by the definition."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import hand_made, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st

from saekit.circuits import Edges, Graph, columns, pruning
from saekit.circuits.pruning import reaching


def dense(graph: Graph) -> np.ndarray:
    n, edges = len(graph.node_columns), graph.edge_columns
    matrix = np.zeros((n, n))
    matrix[edges.target, edges.source] = edges.weight
    return matrix


def normalised(matrix: np.ndarray) -> np.ndarray:
    sizes = np.abs(matrix)
    return sizes / np.maximum(sizes.sum(1, keepdims=True), 1e-10)


def all_paths(matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ_{k ≥ 1} w Âᵏ = w Â (1 − Â)⁻¹"""
    share = normalised(matrix)
    return weights @ share @ np.linalg.inv(np.eye(len(share)) - share)


def largest(values: np.ndarray, share: float) -> np.ndarray:
    """Which are at least the value at which the share is reached, all of them sorted."""
    if not values.any():
        return np.zeros_like(values, dtype=bool)
    order = np.sort(values.ravel())[::-1]
    running = np.cumsum(order) / order.sum()
    return values >= order[min(np.searchsorted(running, share), len(order) - 1)]


def pruned_densely(graph: Graph, node_share: float, edge_share: float) -> tuple[np.ndarray, np.ndarray]:
    """[n] and [n, n]: the nodes and edges kept, by the definition."""
    matrix, kind = dense(graph), graph.node_columns.kind
    weights = graph.target_weights.astype(np.float64)
    kept = largest(all_paths(matrix, weights), node_share) | (kind == 0) | (kind == 3)
    inner = matrix * kept[:, None] * kept
    carried = normalised(inner) * (all_paths(inner, weights) + weights)[:, None]
    edges = largest(carried, edge_share) & (carried > 0)
    while True:
        into, out = edges.any(1), edges.any(0)
        fewer = kept & ((kind == 0) | (kind == 3) | ((kind == 1) & into & out) | ((kind == 2) & out))
        if (fewer == kept).all():
            return kept, edges
        kept, edges = fewer, edges & fewer[:, None] & fewer


def test_influence_and_scores_by_hand() -> None:
    graph = hand_made()
    expected = np.array([17, 8, 13, 8, 15, 16, 20, 8, 0, 0, 0, 0]) / 64
    np.testing.assert_allclose(graph.influence, expected, atol=1e-15)
    assert graph.scores.replacement == pytest.approx(25 / 48)
    assert graph.scores.completeness == pytest.approx(1 - 23 / (105 + 48))
    assert str(graph.scores) == "replacement 0.521, completeness 0.850"


def test_completeness_is_what_its_definition_says() -> None:
    graph = random_graph(3)
    errors = graph.node_columns.kind == 2
    out = all_paths(dense(graph), graph.target_weights) + graph.target_weights
    expected = ((1 - normalised(dense(graph))[:, errors].sum(1)) * out).sum() / out.sum()
    assert graph.scores.completeness == pytest.approx(expected, abs=1e-12)


def test_pruning_by_hand() -> None:
    """60 % of all influence, 63 of 105, is reached with node 4 (20 + 17 + 16 + 15); node 5 has then lost both its
    sources, and 90 % of what edges carry is reached without 1 → 10."""
    graph = hand_made().prune(nodes=0.6, edges=0.9)
    assert graph.ids == ("E_100_0", "E_101_1", "error_0_1", "1_4_1", "3_200_1", "3_201_1")
    edges = list(zip(graph.edges.source, graph.edges.target, graph.edges.weight, strict=True))
    assert edges == [("error_0_1", "1_4_1", 3), ("1_4_1", "3_200_1", -1), ("1_4_1", "3_201_1", 3)]
    np.testing.assert_allclose(graph.reached[:4], np.array([37, 89, 68, 20]) / 105, rtol=1e-6)
    assert np.isnan(graph.reached[4:]).all()
    assert graph.about["pruned"] == {
        "nodes": 0.6,
        "edges": 0.9,
        "of_nodes": 12,
        "of_edges": 14,
        "replacement": pytest.approx(25 / 48),
        "completeness": pytest.approx(1 - 23 / 153),
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.1, 1))
def test_the_same_nodes_and_edges_as_by_dense_matrices(
    seed: int, node_share: float, edge_share: float, density: float
) -> None:
    graph = random_graph(seed, density=density)
    np.testing.assert_allclose(graph.influence, all_paths(dense(graph), graph.target_weights), atol=1e-12)
    if node_share == 1 or edge_share == 1:  # rounding says where a running sum reaches 1
        return
    kept, edges = pruned_densely(graph, node_share, edge_share)
    found = graph.prune(node_share, edge_share)
    assert set(found.ids) == set(np.array(graph.ids)[kept])
    ids = np.array(graph.ids)
    expected = {(ids[s], ids[t]) for t, s in np.argwhere(edges & kept[:, None] & kept)}
    assert set(zip(found.edges.source, found.edges.target, strict=True)) == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_all_of_both_keeps_what_has_a_path_to_a_target(seed: int) -> None:
    graph = random_graph(seed, density=0.3)
    pruned = graph.prune(nodes=1, edges=1)
    ends = np.isin(graph.node_columns.kind, (0, 3))
    reaches = (graph.influence > 0) | ends
    assert set(pruned.ids) <= set(np.array(graph.ids)[reaches])
    np.testing.assert_allclose(pruned.influence[pruned.node_columns.kind == 3], 0)
    again = pruned.prune(nodes=1, edges=1)
    assert again.ids == pruned.ids and len(again.edge_columns) == len(pruned.edge_columns)


def test_many_small_blocks_are_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(5, layers=5, width=20)
    whole, influence = graph.prune(0.7, 0.9), graph.influence
    for module in (columns, pruning):
        monkeypatch.setattr(module, "BLOCK", 7)
    monkeypatch.setattr(pruning, "LEAST_BLOCK", 3)
    again = random_graph(5, layers=5, width=20)
    np.testing.assert_allclose(again.influence, influence, rtol=1e-12)
    assert again.prune(0.7, 0.9).ids == whole.ids
    assert again.prune(0.7, 0.9).edges.equals(whole.edges)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e6, width=32), max_size=60), st.floats(0.01, 1))
def test_the_value_that_reaches_a_share(values: list[float], share: float) -> None:
    array = np.array(values, dtype=np.float32)
    found = reaching(array, share)
    if not array.any():
        assert found == float("inf")
        return
    ordered = np.sort(array[array > 0].astype(np.float64))[::-1]
    assert found in ordered
    slack = 1e-9 * ordered.sum()
    assert ordered[ordered >= found].sum() >= share * ordered.sum() - slack
    assert share == 1 or ordered[ordered > found].sum() < share * ordered.sum() + slack


def test_a_circle_is_an_error() -> None:
    graph = hand_made()
    edges = graph.edge_columns
    back = Edges.of(np.append(edges.source, 5), np.append(edges.target, 2), np.append(edges.weight, 1))
    circular = Graph(graph.node_columns, back, graph.target_weights, graph.tokens, graph.strings)
    with pytest.raises(ValueError, match="the graph has a circle"):
        circular.prune()


@pytest.mark.parametrize(("nodes", "edges"), [(0, 0.5), (0.5, 1.1), (-1, 0.5), (float("nan"), 0.5)])
def test_shares_are_between_0_and_1(nodes: float, edges: float) -> None:
    with pytest.raises(ValueError, match=r"(nodes|edges) is a .*found"):
        hand_made().prune(nodes, edges)
    with pytest.raises(ValueError, match=r"nodes is a share, .* found 80: 80 % is 0\.8"):
        hand_made().prune(nodes=80)


def test_without_targets_nothing_is_explained() -> None:
    graph = hand_made()
    silent = Graph(graph.node_columns, graph.edge_columns, 0 * graph.target_weights, graph.tokens, graph.strings)
    assert np.isnan(silent.scores.replacement) and not silent.influence.any()
    with pytest.raises(ValueError, match="target_weights is 0"):
        silent.prune()
