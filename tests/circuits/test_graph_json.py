"""The field's JSON: two real files come back as they were, our own too, and what is wrong is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import hand_made, random_graph

from saekit.circuits import Edges, Graph, Nodes
from saekit.circuits.graph_json import cantor

REAL = ["bee-insect-clt.json", "gemma-small-big-en_2025-11-13T10-16-02-770Z.json"]


def content(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def checked(path: Path, folder: Path) -> Any:
    """The content of a file that Neuronpedia's schema takes."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = content(folder / "attribution_graphs" / "graph-schema.json")
    jsonschema.Draft7Validator({key: value for key, value in schema.items() if key != "$id"}).validate(content(path))
    return content(path)


def ends(link: Any) -> tuple[str, str]:
    return link["source"], link["target"]


@pytest.mark.parametrize("name", REAL)
def test_a_real_graph_comes_back_without_losing_a_field(name: str, real_folder: Path, tmp_path: Path) -> None:
    there = content(real_folder / "attribution_graphs" / name)
    graph = Graph.from_json(real_folder / "attribution_graphs" / name)
    here = checked(graph.to_json(tmp_path / "again.json"), real_folder)
    ours = here["metadata"].pop("saekit")
    assert ours["tokens"] == graph.tokens.tolist() and (graph.tokens >= 0).all()
    for key in ("slug", "prompt_tokens", "info", "pruning_settings"):
        assert here["metadata"][key] == there["metadata"][key]
    added = here["metadata"].keys() - there["metadata"].keys()
    assert added <= {"schema_version"}
    assert {**here["metadata"], **there["metadata"]} == here["metadata"]
    assert here["qParams"] == there["qParams"]
    assert here["nodes"] == there["nodes"]
    assert sorted(here["links"], key=ends) == sorted(there["links"], key=ends)


@pytest.mark.parametrize("name", REAL)
def test_a_real_graph_is_read_into_columns(name: str, real_folder: Path) -> None:
    there = content(real_folder / "attribution_graphs" / name)
    graph = Graph.from_json(real_folder / "attribution_graphs" / name)
    assert graph.n_layers == 26 and len(graph.node_columns) == len(there["nodes"])
    frame = graph.nodes.set_index("id")
    kinds = frame.kind.value_counts()
    assert kinds["logit"] == 10 and kinds["token"] == len(graph.strings)
    for node in there["nodes"]:
        if node["feature_type"] == "cross layer transcoder":
            layer, latent, position = map(int, node["node_id"].split("_"))
            row = frame.loc[node["node_id"]]
            assert (row.layer, row.number, row.position) == (layer, latent, position)
            assert row.activation == pytest.approx(node["activation"])
    best = frame[frame.kind == "logit"].sort_values("activation").iloc[-1]
    assert best.token == {"bee": " insect", "gem": "large"}[name[:3]]
    assert graph.influence.sum() > 0 and 0 < graph.scores.replacement < 1
    links = {ends(link): link["weight"] for link in there["links"]}
    own = dict(zip(graph.ids, (node["node_id"] for node in there["nodes"]), strict=True))
    rows = zip(graph.edges.source, graph.edges.target, graph.edges.weight, strict=True)
    assert {(own[s], own[t]): w for s, t, w in rows} == links


def test_pinned_nodes_and_groups_have_the_ids_of_the_graph(real_folder: Path, tmp_path: Path) -> None:
    there = content(real_folder / "attribution_graphs" / REAL[0])
    error = next(node for node in there["nodes"] if node["feature_type"] == "mlp reconstruction error")
    there["qParams"] = {"pinnedIds": [error["node_id"]], "supernodes": [[error["node_id"], error["node_id"]]]}
    (tmp_path / "pinned.json").write_text(json.dumps(there))
    graph = Graph.from_json(tmp_path / "pinned.json")
    own = f"error_{error['layer']}_{error['ctx_idx']}"
    assert graph.about["qParams"] == {"pinnedIds": [own], "supernodes": [[error["node_id"], own]]}
    assert content(graph.to_json(tmp_path / "again.json"))["qParams"] == there["qParams"]


def test_our_own_graph_comes_back(tmp_path: Path, real_folder: Path) -> None:
    about = {"model": "micro", "prompt": "The keys", "settings": {"seed": np.int64(3)}, "dictionaries": ("a", "b")}
    bias = np.linspace(-1, 1, 12, dtype=np.float32)
    named = {"labels": {"0_7_0": "plural </script>"}, "target_strings": {"3_200_1": ' are "'}}
    graph = hand_made(about=about, bias=bias, **named)
    pruned = graph.prune(0.9, 1)
    for one in (graph, pruned):
        first = checked(one.to_json(tmp_path / "first.json"), real_folder)
        again = Graph.from_json(tmp_path / "first.json")
        assert again.ids == one.ids and again.strings == one.strings
        for name in ("kind", "layer", "position", "number", "activation"):
            np.testing.assert_array_equal(getattr(again.node_columns, name), getattr(one.node_columns, name))
        for name in ("source", "target", "weight"):
            np.testing.assert_array_equal(getattr(again.edge_columns, name), getattr(one.edge_columns, name))
        np.testing.assert_array_equal(again.tokens, one.tokens)
        np.testing.assert_array_equal(again.target_weights, one.target_weights)
        np.testing.assert_array_equal(again.bias, one.bias)
        assert again.labels == one.labels and again.target_strings == one.target_strings
        assert again.about["settings"] == {"seed": 3} and again.about["dictionaries"] == ["a", "b"]
        assert again.about.get("pruned") == one.about.get("pruned")
        assert content(again.to_json(tmp_path / "second.json")) == first
    np.testing.assert_array_equal(again.reached, pruned.reached)
    assert first["metadata"]["generation_settings"] == {"seed": 3} and first["metadata"]["scan"] == "micro"
    assert first["metadata"]["pruning_settings"] == {"node_threshold": 0.9, "edge_threshold": 1}


def test_a_number_for_two_by_hand() -> None:
    assert cantor(0, 8545) == 36_521_330  # of the real file
    assert [cantor(x, y) for x, y in ((0, 0), (1, 0), (0, 1), (2, 0))] == [0, 1, 2, 3]


def test_a_name_given_later_is_written(real_folder: Path, tmp_path: Path) -> None:
    graph = Graph.from_json(real_folder / "attribution_graphs" / REAL[1])
    graph = Graph(**{**vars_of(graph), "labels": {**graph.labels, "0_354_1": "my name"}})
    nodes = content(graph.to_json(tmp_path / "named.json"))["nodes"]
    assert next(node["clerp"] for node in nodes if node["node_id"] == "0_354_1") == "my name"


def vars_of(graph: Graph) -> dict[str, Any]:
    return {name: getattr(graph, name) for name in graph.__dataclass_fields__}


def test_an_error_keeps_its_own_id_where_a_feature_has_it(tmp_path: Path) -> None:
    """Feature 1 of layer 0 and the error of layer 1, both at position 2, are 0_1_2 in the field's files."""
    nodes = Nodes.of([1, 2, 2, 3], [0, 1, 0, 2], [2, 2, 2, 2], [1, -1, -1, 9], [1, np.nan, np.nan, 0.5])
    edges = Edges.of([0, 1, 2], [3, 3, 3], [1, 2, 3])
    graph = Graph(nodes, edges, np.array([0, 0, 0, 0.5], dtype=np.float32), np.arange(3), ["a", "b", "c"])
    there = content(graph.to_json(tmp_path / "graph.json"))
    assert [node["node_id"] for node in there["nodes"]] == ["0_1_2", "error_1_2", "0_0_2", "3_9_2"]
    assert [node["feature"] for node in there["nodes"]] == [cantor(0, 1), -1, -1, 9]
    assert [node["jsNodeId"] for node in there["nodes"]] == ["0_1-0", "1_2-0", "0_2-0", "L_9-2"]
    assert [node["layer"] for node in there["nodes"]] == ["0", "1", "0", "3"]
    again = Graph.from_json(tmp_path / "graph.json")
    assert again.ids == graph.ids == ("0_1_2", "error_1_2", "error_0_2", "3_9_2")
    np.testing.assert_array_equal(again.edge_columns.weight, [1, 2, 3])


def test_what_a_file_says_of_targets(tmp_path: Path) -> None:
    there = content(hand_made().to_json(tmp_path / "graph.json"))
    assert [node["is_target_logit"] for node in there["nodes"]] == [False] * 9 + [True, False, False]
    there["nodes"][5]["token_prob"] = 0.5
    (tmp_path / "more.json").write_text(json.dumps(there))
    graph = Graph.from_json(tmp_path / "more.json")
    np.testing.assert_array_equal(graph.target_weights, hand_made().target_weights)
    assert content(graph.to_json(tmp_path / "again.json"))["nodes"][5]["token_prob"] == 0.5


def test_unknown_fields_of_nodes_links_and_the_whole_survive(tmp_path: Path) -> None:
    there = content(hand_made().to_json(tmp_path / "graph.json"))
    there["nodes"][2] |= {"qk_tracing_results": {"x": [1.5, None]}, "layer": 0, "feature": 7}
    there["links"][0]["note"] = {"a": 1}
    there["qk_only_nodes"] = {"5_5_5": {"node_id": "5_5_5"}}
    (tmp_path / "more.json").write_text(json.dumps(there))
    assert content(Graph.from_json(tmp_path / "more.json").to_json(tmp_path / "again.json")) == there


def test_what_a_file_says_of_its_pruning_is_not_believed(tmp_path: Path) -> None:
    there = content(hand_made().prune().to_json(tmp_path / "graph.json"))
    there["metadata"]["saekit"]["about"]["pruned"]["replacement"] = "0.9"
    (tmp_path / "other.json").write_text(json.dumps(there))
    graph = Graph.from_json(tmp_path / "other.json")
    assert "pruned" not in graph.about and str(graph.scores) in repr(graph)


@pytest.mark.parametrize("seed", range(3))
def test_links_are_written_in_parts(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saekit.circuits.graph_json.LINKS_AT_ONCE", 7)
    graph = random_graph(seed)
    again = Graph.from_json(graph.to_json(tmp_path / "graph.json"))
    assert again.edges.equals(graph.edges)


SLIPS: dict[str, Any] = {
    "twice": lambda there: there["nodes"][3].update(node_id=there["nodes"][4]["node_id"]),
    "nan": lambda there: there["links"][2].update(weight=float("nan")),
    "huge": lambda there: there["links"][2].update(weight=10**400),
    "text weight": lambda there: there["links"][2].update(weight="1"),
    "link twice": lambda there: there["links"].append({**there["links"][0], "weight": 5}),
    "no weight": lambda there: there["links"][0].pop("weight"),
    "no ctx": lambda there: there["nodes"][5].pop("ctx_idx"),
    "kind": lambda there: there["nodes"][5].update(feature_type="transcoder"),
    "layer": lambda there: there["nodes"][5].update(layer="embed"),
    "large": lambda there: there["nodes"][5].update(ctx_idx=10**30),
    "larger than a column": lambda there: there["nodes"][5].update(ctx_idx=10**15),
    "activation": lambda there: there["nodes"][5].update(activation=[1]),
    "circle": lambda there: there["links"].append({"source": "1_3_1", "target": "0_7_0", "weight": 1}),
    "no links": lambda there: there.pop("links"),
    "no tokens": lambda there: there["metadata"].pop("prompt_tokens"),
}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("twice", r"node_id '0_0_1' stands twice in .*bad\.json, as 'cross layer.*' and as 'mlp reconstruction error'"),
        ("nan", r"the weight of E_101_1 → 0_8_1 in .* is no finite number: nan"),
        ("text weight", r"the weight of E_101_1 → 0_8_1 in .* is no finite number: '1'"),
        ("link twice", r"several links E_100_0 → 0_7_0"),
        ("no weight", r"link 0 of .*bad\.json has no source, target and weight"),
        ("no ctx", r"node 5 of .*bad\.json has no 'ctx_idx'"),
        ("kind", r"feature_type of node '1_3_1' cannot be 'transcoder'; the closest is 'cross layer transcoder'"),
        ("layer", r"node '1_3_1' of .* is no number among .*'layer': 'embed'"),
        ("large", r"node '1_3_1' of .* is no number among"),
        ("activation", r"activation of node '1_3_1' in .*bad\.json is no finite number: \[1\]"),
        ("circle", r"the graph has a circle"),
        ("no links", r"is no attribution graph: 'links' is a list there; found 'metadata', 'qParams', 'nodes'"),
        ("no tokens", r"is no attribution graph: metadata has no list 'prompt_tokens'"),
        ("huge", r"the weight of E_101_1 → 0_8_1 in .* is no finite number: 1000"),
        ("larger than a column", r"position of a node is a whole number that int32 holds, found 1000000000000000"),
    ],
)
def test_a_bad_file_is_one_sentence(how: str, said: str, tmp_path: Path) -> None:
    there = content(hand_made().to_json(tmp_path / "good.json"))
    SLIPS[how](there)
    (tmp_path / "bad.json").write_text(json.dumps(there))
    with pytest.raises(ValueError, match=said) as caught:
        Graph.from_json(tmp_path / "bad.json")
    assert "\n" not in str(caught.value)


def test_links_to_nowhere_are_left_out_and_said(tmp_path: Path) -> None:
    there = content(hand_made().to_json(tmp_path / "good.json"))
    there["links"] += [{"source": "9_9_9", "target": "3_200_1", "weight": 1}, {**there["links"][0], "target": None}]
    (tmp_path / "bad.json").write_text(json.dumps(there))
    with pytest.warns(UserWarning, match=r"2 of 16 links in .*bad\.json .*first 9_9_9 → 3_200_1: they are left out"):
        graph = Graph.from_json(tmp_path / "bad.json")
    assert len(graph.edge_columns) == 14


def test_what_is_no_json_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ValueError, match=r"text\.json is no JSON"):
        Graph.from_json(tmp_path / "text.json")
    (tmp_path / "text.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"is no attribution graph: 'metadata' is an object there; found list"):
        Graph.from_json(tmp_path / "text.json")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*missing\.json"):
        Graph.from_json(tmp_path / "missing.json")
