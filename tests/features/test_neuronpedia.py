"""Neuronpedia's feature JSON: the numbers of the view, under the field's names, in strict JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saekit.features.showing.neuronpedia import neuronpedia_feature


def test_fields_and_numbers_are_those_of_the_view(make_view: Callable[..., Any]) -> None:
    view = make_view()
    found = json.loads(json.dumps(neuronpedia_feature(view, "micro/mlp"), allow_nan=False))
    groups = found.pop("examples_quantiles")
    assert found == {
        "transcoder_id": "micro/mlp",
        "index": 4217,
        "top_logits": [" Lily", " Tim", "</b>", "\n"],
        "bottom_logits": [" the", "<|endoftext|>", " very", " went"],
        "act_min": 0.0,
        "act_max": 8.0,
        "quantile_values": pytest.approx([0.0, 1.6, 3.2, 4.8, 6.4, 8.0]),
        "histogram": [9, 6, 0, 5],
        "activation_frequency": 0.005,
    }
    assert [group["quantile_name"] for group in groups] == [
        "Top activations", *(f"Subsample interval {i}" for i in (4, 3, 2, 1, 0))
    ]  # fmt: skip
    assert len(groups[0]["examples"]) == 8 and [len(group["examples"]) for group in groups[1:]] == [1] * 5
    for example, ours in zip(groups[0]["examples"], view["examples"]["top"], strict=True):
        assert example == {
            "tokens": ours["pieces"],
            "tokens_acts_list": ours["values"],
            "train_token_ind": ours["peak"],
            "is_repeated_datapoint": False,
        }
        assert example["tokens_acts_list"][example["train_token_ind"]] == ours["value"]


def test_an_example_with_copies_is_a_repeated_datapoint(make_view: Callable[..., Any]) -> None:
    view = make_view()
    view["examples"]["top"][1]["copies"] = np.int32(2)
    told = json.loads(json.dumps(neuronpedia_feature(view)))["examples_quantiles"][0]["examples"]
    assert [example["is_repeated_datapoint"] for example in told[:3]] == [False, True, False]


def test_numpy_numbers_are_written(make_view: Callable[..., Any]) -> None:
    view = make_view(
        latent=np.int32(3), maximum=np.float32(8), density=np.float64(0.005), histogram={"counts": np.array([9, 6])}
    )
    assert json.loads(json.dumps(neuronpedia_feature(view)))["histogram"] == [9, 6]


def test_what_is_absent_is_empty(make_view: Callable[..., Any]) -> None:
    found = neuronpedia_feature(make_view(histogram=None, logits=None, examples={}))
    assert found["histogram"] == found["top_logits"] == found["bottom_logits"] == found["quantile_values"] == []
    assert found["examples_quantiles"] == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"maximum": float("nan")}, "its maximum has the value nan"),
        ({"density": float("inf")}, "its density has the value inf"),
        ({"histogram": {"counts": [1.0, float("nan")]}}, "its histogram has the value nan"),
    ],
)
def test_what_json_does_not_have_is_an_error(make_view: Callable[..., Any], changes: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        neuronpedia_feature(make_view(**changes))


def test_index_with_a_layer_is_that_of_real_graphs(make_view: Callable[..., Any], real_folder: Path) -> None:
    graph = json.loads((real_folder / "attribution_graphs" / "bee-insect-clt.json").read_text(encoding="utf-8"))
    nodes = [node for node in graph["nodes"] if node["feature_type"] == "cross layer transcoder"]
    assert len(nodes) > 100
    for node in nodes:
        layer, latent = map(int, node["node_id"].split("_")[:2])
        assert neuronpedia_feature(make_view(latent=latent), layer=layer)["index"] == node["feature"]
