"""What a map is worth: against scikit-learn's trustworthiness, plain counting, and maps drawn at random."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from saekit.features.showing import map_worth
from saekit.features.showing.map_worth import worth


def rows(n: int, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows, and a map that keeps something of them."""
    x = np.random.default_rng(seed).standard_normal((n, d))
    x[:, :2] *= 3
    return x / np.linalg.norm(x, axis=1, keepdims=True), x[:, :2]


def kept(unit: np.ndarray, place: np.ndarray, k: int) -> float:
    """One point after the other."""
    shares = []
    for i in range(len(unit)):
        others = [j for j in range(len(unit)) if j != i]
        alike = sorted(others, key=lambda j: -float(unit[i] @ unit[j]))[:k]
        near = sorted(others, key=lambda j: float(((place[i] - place[j]) ** 2).sum()))[:k]
        shares.append(len({*alike} & {*near}) / k)
    return float(np.mean(shares))


@pytest.mark.parametrize(("n", "k"), [(60, 10), (20, 6), (5, 1)])
def test_both_numbers_are_those_of_plain_counting(n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_worth, "AT_ONCE", 7 * n)  # several blocks
    unit, place = rows(n)
    found = worth(unit, place)
    assert found is not None and found.neighbours == k
    assert found.kept == pytest.approx(kept(unit, place, k))
    assert found.trustworthiness == pytest.approx(trustworthiness(unit, place, n_neighbors=k, metric="cosine"))
    assert found.kept_by_chance == k / (n - 1)


def test_chance_is_what_a_map_drawn_at_random_has() -> None:
    unit, place = rows(400)
    rng = np.random.default_rng(1)
    drawn = [worth(unit, rng.permutation(place)) for _ in range(20)]
    good = worth(unit, place)
    assert good is not None and all(drawn)
    assert np.mean([one.kept for one in drawn]) == pytest.approx(good.kept_by_chance, abs=0.003)
    assert np.mean([one.trustworthiness for one in drawn]) == pytest.approx(good.trustworthiness_by_chance, abs=0.005)
    assert good.kept > 3 * good.kept_by_chance and good.trustworthiness > 0.7


def test_of_many_points_a_sample_is_asked_against_all(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, place = rows(500)
    whole = worth(unit, place)
    monkeypatch.setattr(map_worth, "ASKED", 200)
    some = worth(unit, place, seed=3)
    assert whole is not None and some is not None
    assert some == worth(unit, place, seed=3) != worth(unit, place, seed=4)
    assert some.kept == pytest.approx(whole.kept, abs=0.05)
    assert some.trustworthiness == pytest.approx(whole.trustworthiness, abs=0.03)


def test_three_points_say_nothing() -> None:
    unit, place = rows(3)
    assert worth(unit, place) is None
