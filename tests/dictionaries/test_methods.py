"""The list of methods, and methods in JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

import saekit as sk
from saekit.dictionaries import Method, baselines

PUBLIC = {"BatchTopK", "EndToEnd", "FrozenDecoder", "Gated", "ICA", "ITDA", "JumpReLU", "MatchingPursuit", "Neurons"}
PUBLIC |= {"PCA", "RandomDirections", "ReLU", "Standardised", "TopK"}
NESTED = {"EndToEnd", "Standardised"}


def test_what_has_no_directions_of_its_own_is_abstract():
    with pytest.raises(TypeError, match=r"abstract.*directions"):
        baselines.Directions(d_sae=4)


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_list_has_every_public_method_of_saekit():
    rows = [row for row in sk.methods().rows if Method.known[row["method"]].__module__.startswith("saekit.")]
    names = [row["method"] for row in rows]
    assert set(names) == PUBLIC and names == sorted(names), "and neither Directions nor NestedMethod"
    assert all(row["equation"] and row["fields"].startswith("d_sae") for row in rows if row["method"] not in NESTED)
    found = {row["method"]: row for row in rows}
    assert found["TopK"]["fields"] == "d_sae, k=32, auxk_weight=0.03125, skip=False"
    assert found["EndToEnd"]["fields"] == "base, loss='kl', base_weight=10", "d_sae and skip are its base's"
    assert found["JumpReLU"]["fields"].startswith("d_sae, l0=32, sparsity_weight=3, bandwidth=0.6, threshold=0.1")
    assert found["JumpReLU"]["source"] == "Rajamanoharan et al. 2024, arXiv 2407.14435"
    assert found["EndToEnd"]["needs"] == "models, rows" and found["TopK"]["needs"] == "activations alone"
    assert (found["ITDA"]["learner"], found["PCA"]["learner"], found["ReLU"]["learner"]) == (
        "growing",
        "fit",
        "gradient",
    )


def test_every_method_can_be_made_as_its_row_says():
    for name in PUBLIC - NESTED:
        method = Method.known[name](d_sae=64)  # type: ignore[call-arg]
        assert Method.from_json(json.loads(json.dumps(method.to_json()))) == method


def test_one_of_ones_own_stands_after_them_and_is_escaped():
    @dataclass(frozen=True)
    class Mine(sk.TopK):
        """Latents <b>a</b> & b."""

        equation = ""
        source = ""

    try:
        rows = sk.methods().rows
        assert "Mine" in [row["method"] for row in rows[len(PUBLIC) :]]
        (row,) = [row for row in rows if row["method"] == "Mine"]
        assert row["equation"] == "Latents <b>a</b> & b." and row["source"] == __name__
        html = sk.methods()._repr_html_()
        assert "Latents &lt;b&gt;a&lt;/b&gt; &amp; b." in html and "<b>a</b>" not in html
        assert "Mine(d_sae, k=32" in repr(sk.methods()) and "Mine" in sk.methods().frame()["method"].tolist()
    finally:
        Method.known.pop("Mine")


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_nested_methods_go_through_json():
    method = sk.EndToEnd(sk.JumpReLU(d_sae=8, l0=2), loss="ce")
    text = json.dumps(method.to_json())
    assert json.loads(text)["base"]["method"] == "JumpReLU" and json.loads(text)["d_sae"] == 8
    assert Method.from_json(json.loads(text)) == method
    skipping = sk.EndToEnd(sk.TopK(d_sae=8, k=2, skip=True))
    assert skipping.skip and Method.from_json(skipping.to_json()) == skipping
    with pytest.raises(TypeError, match=r"EndToEnd takes no skip=; it takes base, loss, base_weight"):
        sk.EndToEnd(sk.TopK(d_sae=8, k=2), skip=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "TopQ"}, "method 'TopQ' is not known here .*import the module that defines it first"),
        ({"base": {"method": "TopQ", "d_sae": 8}}, "method 'TopQ' is not known here"),
        ({"los": "kl"}, "EndToEnd has no field 'los'; the closest is 'loss'"),
        ({"base": {"method": "TopK", "d_sae": 8, "kk": 2}}, "TopK has no field 'kk'; the closest is 'k'"),
        ({"base": {"method": "TopK", "k": 2}}, "TopK lacks 'd_sae'"),
        ({"base": 8}, "EndToEnd goes around a method"),
    ],
)
def test_json_that_is_wrong(change, message):
    values = sk.EndToEnd(sk.TopK(d_sae=8, k=2)).to_json() | change
    with pytest.raises(ValueError, match=message):
        Method.from_json(values)
    with pytest.raises(ValueError, match="a method is a mapping of fields, found 'TopK'"):
        Method.from_json("TopK")  # type: ignore[arg-type]


def test_a_nested_method_needs_what_its_base_needs():
    @dataclass(frozen=True)
    class Labelled(sk.TopK):
        needs = frozenset({"labels"})
        sample = 100

    try:
        method = sk.EndToEnd(Labelled(d_sae=8, k=2))
        assert method.needs == {"labels", "rows", "models"} and method.sample == 100
        assert sk.EndToEnd.needs == {"rows", "models"}, "of the class nothing has changed"
        assert replace(method, loss="ce").needs == method.needs and Method.from_json(method.to_json()) == method
    finally:
        Method.known.pop("Labelled")
