"""Probes: what they find of a planted direction, and that no document is on both sides of a fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saekit import SparseCodes
from saekit.metrics import auroc, fit_probe

N, D = 1200, 12
DOCUMENTS = torch.arange(N) // 10


def planted(seed: int = 0, noise: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, D, generator=generator, dtype=torch.float64) * torch.logspace(-1, 1, D) + 3
    direction = torch.zeros(D, dtype=torch.float64)
    direction[2], direction[9] = 2.0, -0.05
    y = (x - 3) @ direction + noise * torch.randn(N, generator=generator) > 0
    return x, y, direction


def test_auroc_is_the_share_of_ordered_pairs():
    generator = np.random.default_rng(0)
    scores, labels = generator.integers(0, 6, 40), generator.random(40) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    assert auroc(scores, labels) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc([1.0, 2.0], [1, 1]))


def test_a_planted_direction_is_found_in_units_of_x():
    x, y, direction = planted(noise=0.3)
    probe = fit_probe(x, y, DOCUMENTS, penalty=100.0, draws=100)
    scale = x.std(0)  # the two planted columns weigh alike once columns are as wide as one another
    found, wanted = probe.direction * scale, direction * scale
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > 0.98
    log_odds = probe(x)
    assert ((log_odds > 0) == y).double().mean() > probe.chance_accuracy + 0.2
    # The optimum of the penalised likelihood: its gradient by the direction is zero.
    p, z = torch.sigmoid(log_odds), (x - x.mean(0)) / x.std(0, correction=0)
    gradient = z.T @ (p - y.double()) + probe.direction * x.std(0, correction=0) / 100.0
    assert gradient.abs().max() < 0.5 and (p.sum() - y.sum()).abs() < 0.5


def test_documents_are_never_on_both_sides():
    generator = torch.Generator().manual_seed(1)
    of_document = torch.rand(N // 10, generator=generator) < 0.5
    x = torch.randn(N // 10, 300, generator=generator)[DOCUMENTS] + 0.1 * torch.randn(N, 300, generator=generator)
    y = of_document[DOCUMENTS]  # nothing but which document it is
    honest, leaking = fit_probe(x, y, DOCUMENTS, draws=50), fit_probe(x, y, draws=50)
    assert 0.35 < honest.auroc.value < 0.65 and leaking.auroc.value > 0.95
    assert honest.auroc.units == N // 10 and leaking.auroc.units == N


def test_chance_stands_beside():
    x, _, _ = planted()
    rare = torch.rand(N, generator=torch.Generator().manual_seed(2)) < 0.2
    probe = fit_probe(x, rare, DOCUMENTS, draws=200)
    assert probe.chance_accuracy == pytest.approx(1 - float(rare.double().mean()))
    assert probe.auroc.low < 0.5 < probe.auroc.high and probe.chance_auroc == 0.5
    frame = probe.frame()
    assert list(frame["chance"]) == [0.5, probe.chance_accuracy]
    assert "5 folds of documents" in probe.definition and f"{int(rare.sum()):,} true" in probe.definition


def test_codes_are_read_as_they_are():
    x, y, _ = planted()
    z = torch.where(x > 3, x, 0.0).float()
    codes = SparseCodes.from_dense(z)
    of_codes, of_dense = fit_probe(codes, y, DOCUMENTS, draws=20), fit_probe(z, y, DOCUMENTS, draws=20)
    torch.testing.assert_close(of_codes.direction, of_dense.direction, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(of_codes(codes), of_codes(z), rtol=1e-4, atol=1e-4)
    assert of_codes(codes.view(N // 10, 10)).shape == (N // 10, 10)


def test_the_seed_deals_the_folds():
    x, y, _ = planted(noise=6.0)
    one, again, other = (fit_probe(x, y, DOCUMENTS, seed=seed, draws=20) for seed in (0, 0, 1))
    assert torch.equal(one.scores, again.scores) and not torch.equal(one.scores, other.scores)
    assert torch.equal(one.direction, other.direction), "the last fit is of everything"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": torch.ones(N)}, r"labels are true and false, both present, found \[1.0\]"),
        ({"labels": torch.arange(N) % 3}, r"found \[0, 1, 2\]"),
        ({"labels": torch.ones(3)}, r"1200 rows need a label each, \[1200\], found shape \(3,\)"),
        (
            {"labels": DOCUMENTS < 3},
            "one of the labels stands in 3 documents, too few for folds=5: folds=3 is the most",
        ),
        ({"labels": DOCUMENTS < 1}, "in 1 document, too few for folds=5: there must be 2 at least"),
        ({"x": torch.full((N, D), torch.nan)}, "activations are NaN or infinite"),
        ({"x": torch.zeros(N)}, r"rows \[n, d\], found shape \(1200,\)"),
        ({"documents": [1, 2]}, r"1200 values need the document of each, \[1200\], found shape \(2,\)"),
        ({"folds": 1}, "folds must be at least 2, found 1"),
    ],
)
def test_bad_input(change, sentence):
    x, y, _ = planted()
    given = {"x": x, "labels": y, "documents": DOCUMENTS} | change
    with pytest.raises(ValueError, match=sentence):
        fit_probe(given.pop("x"), given.pop("labels"), given.pop("documents"), **given)
