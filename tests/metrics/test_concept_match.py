"""Concept match against plain loops that follow the definition word for word.

Positive: a token inside a span. Predicted: z > t, t tenths of the latent's maximum on the choosing half. Latent and t
are chosen on the even documents, by F1, the first of equals; precision, recall and F1 are given on the odd ones.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import pytest
import torch
from saekit_kernels import SparseCodes, top_k

from saekit.metrics import concept_match
from saekit.metrics.labelled import MINIMUM


def score(predicted: list[bool], positive: list[bool]) -> tuple[float, float, Fraction]:
    hits = sum(p and q for p, q in zip(predicted, positive, strict=True))
    fired, total = sum(predicted), sum(positive)
    f1 = Fraction(2 * hits, fired + total) if fired + total else Fraction(0)
    return (hits / fired if fired else 0.0, hits / total if total else 0.0, f1)


def oracle(z: list[list[float]], positive: list[bool], documents: list[int], tokens: list[int]) -> dict[str, float]:
    even = [i for i, d in enumerate(documents) if d % 2 == 0]
    odd = [i for i, d in enumerate(documents) if d % 2 == 1]
    best, chosen = Fraction(-1), (0, 0.0)
    for latent in range(len(z[0])):
        maximum = max([0.0] + [z[i][latent] for i in even])
        for step in range(10):
            threshold = maximum * step / 10
            f1 = score([z[i][latent] > threshold for i in even], [positive[i] for i in even])[2]
            if f1 > best:
                best, chosen = f1, (latent, threshold)
    latent, threshold = chosen
    precision, recall, f1 = score([z[i][latent] > threshold for i in odd], [positive[i] for i in odd])
    best, token = Fraction(-1), 0
    for candidate in range(max(tokens) + 1):
        token_f1 = score([tokens[i] == candidate for i in even], [positive[i] for i in even])[2]
        if token_f1 > best:
            best, token = token_f1, candidate
    token_f1 = score([tokens[i] == token for i in odd], [positive[i] for i in odd])[2]
    return {
        "latent": latent,
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
        "f1": float(f1),
        "token_f1": float(token_f1),
        "positives": sum(positive),
    }


def same(row: dict[str, object], expected: dict[str, float]) -> None:
    found = {key: value for key, value in row.items() if key != "concept"}
    assert found == pytest.approx(expected, abs=1e-4)
    assert found["latent"] == expected["latent"]


def planted(seed: int, whole: bool, signed: bool = False, n: int = 400):
    """Codes that know a little about three concepts. ``whole``: values 1 … 10, so that z = t happens all the time."""
    generator = torch.Generator().manual_seed(seed)
    documents = torch.randint(0, 12, (n,), generator=generator).sort().values
    tokens = torch.randint(0, 15, (n,), generator=generator)
    labels = {name: torch.rand(n, generator=generator) < share for name, share in (("a", 0.2), ("b", 0.4), ("c", 0.6))}
    z = torch.randn(n, 9, generator=generator)
    z[:, 2] += 2 * labels["a"]
    z[:, 5] += 1.5 * labels["b"]
    if whole:
        z = (z * 3).round().clamp(-10, 10)
    if not signed:
        z = z.relu()
    return z, labels, documents, tokens


@pytest.mark.parametrize("signed", [False, True], ids=["positive", "signed"])
@pytest.mark.parametrize("whole", [False, True], ids=["real", "whole"])
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_loops(seed, whole, signed):
    z, labels, documents, tokens = planted(seed, whole, signed)
    match = concept_match(SparseCodes.from_dense(z), labels, documents, tokens)
    assert {row["concept"] for row in match.rows} == {"a", "b", "c"}
    for row in match.rows:
        same(row, oracle(z.double().tolist(), labels[row["concept"]].tolist(), documents.tolist(), tokens.tolist()))
    assert [row["f1"] for row in match.rows] == sorted((row["f1"] for row in match.rows), reverse=True)


def test_stored_zeros_and_constant_rows_of_k_do_not_count():
    z, labels, documents, tokens = planted(7, whole=False)
    codes = top_k(z - 0.5, 8)  # negative ones become stored zeros
    assert bool((codes.values == 0).any())
    expected = concept_match(SparseCodes.from_dense(codes.to_dense()), labels, documents, tokens)
    assert concept_match(codes, labels, documents, tokens).rows == expected.rows


def test_order_within_a_half_does_not_matter():
    z, labels, documents, tokens = planted(8, whole=True)
    shuffled = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))
    renamed = documents[shuffled] + 2 * torch.randint(0, 50, (len(z),), generator=torch.Generator().manual_seed(1))
    again = concept_match(
        SparseCodes.from_dense(z[shuffled]), {k: v[shuffled] for k, v in labels.items()}, renamed, tokens[shuffled]
    )
    assert again.rows == concept_match(SparseCodes.from_dense(z), labels, documents, tokens).rows


def test_the_scoring_half_chooses_nothing():
    z, labels, documents, tokens = planted(9, whole=False)
    odd = documents % 2 == 1
    other = z.clone()
    other[odd] = 37 * z[odd].flip(0).roll(1, dims=1)  # larger than every maximum seen while choosing
    before = concept_match(SparseCodes.from_dense(z), labels, documents, tokens)
    after = concept_match(SparseCodes.from_dense(other), labels, documents, tokens)
    chosen = [{row["concept"]: (row["latent"], row["threshold"]) for row in match.rows} for match in (before, after)]
    assert chosen[0] == chosen[1] and before.rows != after.rows


def test_a_perfect_latent_is_found_and_a_token_is_no_match_for_it():
    generator = torch.Generator().manual_seed(10)
    documents, tokens = torch.arange(600) // 20, torch.randint(0, 30, (600,), generator=generator)
    inside = torch.rand(600, generator=generator) < 0.2
    z = torch.rand(600, 20, generator=generator)
    z[:, 13] = torch.where(inside, 2.0, 0.1)  # fires weakly everywhere: only a threshold makes it perfect
    best = concept_match(SparseCodes.from_dense(z), {"inside": inside}, documents, tokens).best
    assert (best["latent"], best["f1"], best["precision"], best["recall"]) == (13, 1.0, 1.0, 1.0)
    assert 0.1 < best["threshold"] < 2.0
    assert best["token_f1"] < 0.5


def test_a_latent_that_is_one_token_is_no_feat():
    documents, tokens = torch.arange(1000) // 10, torch.arange(1000) % 7
    z = (tokens == 4).float()[:, None]
    match = concept_match(SparseCodes.from_dense(z), {"four": tokens == 4}, documents, tokens)
    assert (match.rows[0]["f1"], match.rows[0]["token_f1"]) == (1.0, 1.0) and match.best is None


def test_thresholds_of_tiny_activations_survive():
    z, labels, documents, tokens = planted(11, whole=False)
    large = concept_match(SparseCodes.from_dense(z), labels, documents, tokens).rows
    small = concept_match(SparseCodes.from_dense(z * 2.0**-20), labels, documents, tokens).rows
    assert [row["latent"] for row in small] == [row["latent"] for row in large]
    assert [row["threshold"] for row in small] == pytest.approx([row["threshold"] * 2.0**-20 for row in large])


def test_rare_concepts_are_left_out():
    documents, z = torch.arange(400) // 8, torch.ones(400, 1)
    labels = {"rare": torch.arange(400) < MINIMUM - 1, "enough": torch.arange(400) < MINIMUM}
    match = concept_match(SparseCodes.from_dense(z), labels, documents)
    assert MINIMUM == 50 and [row["concept"] for row in match.rows] == ["enough"]
    assert match.best is not None and math.isnan(match.best["token_f1"]), "no tokens were given"
    none = concept_match(SparseCodes.from_dense(z), {"rare": labels["rare"]}, documents)
    assert none.rows == [] and list(none.frame().columns)[:2] == ["concept", "latent"] and len(none.frame()) == 0
    assert none.best is None
    (number,) = none.numbers
    assert math.isnan(number.value) and number.definition == "no concept had 50 positive tokens"


def test_codes_without_an_entry():
    labels = {"a": torch.arange(200) % 2 == 0}
    documents = torch.arange(200) // 10
    match = concept_match(SparseCodes.from_dense(torch.zeros(200, 3)), labels, documents)
    expected = oracle([[0.0] * 3] * 200, labels["a"].tolist(), documents.tolist(), [0] * 200)
    same(match.rows[0] | {"token_f1": 0}, expected | {"token_f1": 0})
    assert (match.rows[0]["f1"], match.rows[0]["precision"], match.rows[0]["recall"]) == (0, 0, 0)
    assert match.best is None, "a latent that finds nothing is not the best"


def test_the_best_concept_is_none_that_one_token_finds_as_well():
    """Latent 0 is a token with F1 1, latent 1 a concept of two tokens, of which one alone reaches 2/3."""
    tokens = torch.arange(800) % 8
    labels = {"special": tokens == 0, "two": (tokens == 2) | (tokens == 3)}
    z = torch.stack([labels["special"], labels["two"]], 1).float()
    match = concept_match(SparseCodes.from_dense(z), labels, torch.arange(800) // 16, tokens)
    assert [(row["concept"], row["f1"]) for row in match.rows] == [("special", 1), ("two", 1)]
    assert match.best is not None and match.best["concept"] == "two"
    (number,) = match.numbers
    assert number.name == "best concept, two" and number.definition.endswith("the best token alone: 0.67")
    only = concept_match(SparseCodes.from_dense(z), {"special": labels["special"]}, torch.arange(800) // 16, tokens)
    assert only.best is None
    (number,) = only.numbers
    assert number.name == "best concept" and math.isnan(number.value)
    assert number.definition == "none of 1 concepts is found better by a latent than by the best token alone"


def test_codes_that_still_carry_a_gradient():
    z, labels, documents, tokens = planted(12, whole=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attached = concept_match(SparseCodes.from_dense(z.clone().requires_grad_()), labels, documents, tokens)
    assert attached.rows == concept_match(SparseCodes.from_dense(z), labels, documents, tokens).rows


def test_names_are_escaped_and_the_definition_is_said():
    z, labels, documents, tokens = planted(13, whole=False)
    named = {"<script>alert(1)</script>": labels["c"]}
    html = concept_match(SparseCodes.from_dense(z), named, documents, tokens)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "z &gt; t" in html and "50 positive tokens" in html
