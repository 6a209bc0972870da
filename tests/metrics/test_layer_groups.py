"""layer_groups: by hand, beside a slow and obvious version, and on layers whose groups are planted."""

from __future__ import annotations

import math

import pytest
import torch

import saekit as sk
from saekit.metrics import layer_groups

TEXTS = [f"the cat sat on {a} and the dog saw it" for a in "abcdefgh"]


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_angles_by_hand():
    """Around their means: a and b at right angles at each of two tokens, a and c opposite, whatever mean and size."""
    a, b = torch.tensor([[1.0, 0], [-1, 0]]), torch.tensor([[0.0, 1], [0, -1]])
    found = layer_groups({"a": a, "b": 3 * b + 7, "c": -a, "d": torch.stack([a[0] + b[0], -a[0] - b[0]])})
    expected = [[0, 0.5, 1, 0.25], [0.5, 0, 0.5, 0.25], [1, 0.5, 0, 0.75], [0.25, 0.25, 0.75, 0]]
    assert torch.allclose(found.distances, torch.tensor(expected).double(), atol=1e-6) and found.tokens == 2


def test_complete_linkage_by_hand():
    """Angles on a circle at 0, 10, 24 and 90 degrees. 0 and 10 join; 24 is nearer to 10 than 90 is, but the group's far
    end counts: 24 from 0 and 66 from 90."""
    angles = torch.tensor([0.0, 10, 24, 90]) * math.pi / 180
    sign = torch.tensor([1.0, -1])[:, None]
    x = {str(i): sign * torch.stack([a.cos(), a.sin()]) for i, a in enumerate(angles)}
    found = layer_groups(x)
    assert found.groups == {
        1: [("0", "1", "2", "3")],
        2: [("0", "1", "2"), ("3",)],
        3: [("0", "1"), ("2",), ("3",)],
        4: [("0",), ("1",), ("2",), ("3",)],
    }
    degrees = [found.farthest(k) * 180 for k in (1, 2, 3, 4)]
    assert degrees == pytest.approx([90, 24 / 2, 10 / 3, 0], abs=1e-3)
    rows = found.frame()
    assert rows["groups"].tolist() == ["0–3", "0–2 | 3", "0, 1 | 2 | 3", "0 | 1 | 2 | 3"]
    assert rows["contiguous"].all()


def test_in_parts_as_in_one(monkeypatch):
    x = {f"l{i}": numbers(2500, 6, seed=i) + i for i in range(4)}
    found = layer_groups(x)
    away = torch.stack([h - h.mean(0) for h in x.values()])
    for i in range(4):
        for j in range(4):
            cosine = torch.cosine_similarity(away[i], away[j], dim=1)
            expected = 0.0 if i == j else float(cosine.clamp(-1, 1).arccos().mean()) / math.pi
            assert float(found.distances[i, j]) == pytest.approx(expected, abs=1e-6)


def test_planted_groups_are_found():
    """Two bases of three layers, one of them out of order: the groups are not runs."""
    bases = [numbers(500, 16, seed=1), numbers(500, 16, seed=2)]
    which = [0, 0, 1, 0, 1, 1]
    x = {f"l{i}": bases[b] + 0.3 * numbers(500, 16, seed=10 + i) for i, b in enumerate(which)}
    found = layer_groups(x)
    assert found.groups[2] == [("l0", "l1", "l3"), ("l2", "l4", "l5")]
    two = found.frame().iloc[1]
    assert two["groups"] == "l0, l1, l3 | l2, l4, l5" and not two["contiguous"] and found.frame()["contiguous"][0]
    assert [str(wiring) for wiring in found.wirings(2)] == ["each of l0, l1, l3", "each of l2, l4, l5"]
    assert found.wirings(6)[5] == sk.Wiring("l5"), "one alone is a plain one"
    falls = found.frame()["farthest"].tolist()
    assert falls == sorted(falls, reverse=True) and falls[-1] == 0


def test_of_a_model_all_blocks_but_the_last(tiny_gpt2):
    sites = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    found = layer_groups(tiny_gpt2, TEXTS, sites)
    acts = sk.activations.harvest(tiny_gpt2, TEXTS, sites)
    alone = layer_groups({site: acts.flat(site) for site in sites})
    assert torch.allclose(found.distances, alone.distances, atol=1e-4) and found.tokens == alone.tokens
    assert layer_groups(tiny_gpt2, TEXTS, sites, tokens=17).tokens == 17
    with pytest.raises(ValueError, match="two sites or more, each once, found blocks"):
        layer_groups(tiny_gpt2, TEXTS)  # of two blocks one is left


def test_drawn():
    x = {f"blocks.{i}.hook_resid_post": numbers(50, 4, seed=i) for i in range(4)}
    found = layer_groups(x)
    assert "0–3" in repr(found) and ".wirings(k)" in repr(found) and "<img " in found._repr_html_()
    (data,) = found.chart.to_dict()["datasets"].values()
    assert len(data) == 16
    assert data[1]["distance"] == pytest.approx(float(found.distances[0, 1]))


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda m: layer_groups({"a": numbers(3, 2), "b": numbers(3, 3)}), ValueError, "sites of one width, found"),
        (lambda m: layer_groups({"a": numbers(3, 2)}), ValueError, "two sites or more, each once, found a"),
        (lambda m: layer_groups({"a": numbers(3, 2)}, sites=["a", "a"]), ValueError, "each once, found a, a"),
        (lambda m: layer_groups(m), TypeError, "a corpus goes with a model, and none with activations"),
        (lambda m: layer_groups({"a": numbers(3, 2)}, TEXTS), TypeError, "a corpus goes with a model"),
        (
            lambda m: layer_groups(m, TEXTS, ["blocks.0.hook_resid_pos", "blocks.1.hook_resid_post"]),
            ValueError,
            "no hook",
        ),
        (
            lambda m: layer_groups({"a": numbers(3, 2), "b": numbers(3, 2)}).wirings(3),
            ValueError,
            "1 to 2 groups, found",
        ),
    ],
)
def test_refused(tiny_gpt2, wrong, kind, message):
    with pytest.raises(kind, match=message):
        wrong(tiny_gpt2)
