"""Matching pursuit against a brute-force pursuit in float64, and what the residual does from step to step."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.objectives import Batch, State


def dictionary_of(rows: torch.Tensor, bias: torch.Tensor | None = None, **settings):
    d_sae, d = rows.shape
    dictionary = sk.MatchingPursuit(d_sae=d_sae, **settings).build(sk.Wiring("x"), {"x": d}).to(rows.dtype)
    with torch.no_grad():
        dictionary.decoder.directions.copy_(rows)
        if bias is not None:
            dictionary.decoder.bias.copy_(bias)
    return dictionary


def unit(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double(), dim=1
    )


def brute(x, rows, bias, steps, tolerance=0.0, signed=False):
    """One token and one step after the other, in Python: dense codes, and the residual after each step."""
    codes, residuals = torch.zeros(len(x), len(rows), dtype=torch.float64), []
    for number, token in enumerate(x):
        r, history = token - bias, [token - bias]
        for _ in range(steps):
            products = [float(row @ r) for row in rows]
            sizes = [abs(p) for p in products] if signed else products
            j = max(range(len(rows)), key=lambda i: (sizes[i], -i))  # of equals the first
            if sizes[j] <= 0 or float(r.norm()) < tolerance * float(history[0].norm()):
                break
            codes[number, j] += products[j]
            r = r - products[j] * rows[j]
            history.append(r)
        residuals.append(history)
    return codes, residuals


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_against_a_brute_force_pursuit(signed, tolerance):
    rows, bias = unit(12, 5), torch.randn(5, generator=torch.Generator().manual_seed(1)).double()
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(2)).double()
    found = dictionary_of(rows, bias, steps=7, tolerance=tolerance, signed=signed).encode(x)
    expected, residuals = brute(x, rows, bias, 7, tolerance, signed)
    assert torch.allclose(found.to_dense(), expected, atol=1e-12)
    assert bool((found.to_dense() < 0).any()) == signed
    steps = torch.tensor([len(history) - 1 for history in residuals])
    assert (found.l0 <= steps).all() and (found.l0 < steps).any(), "some atom was chosen again"
    assert len(steps.unique()) > 2 if tolerance else steps.max() == 7, "with a tolerance tokens stop early"


def test_of_equal_products_the_first_atom_is_taken():
    """Two equal atoms, and two that lie alike to x: numbers that are exact in binary."""
    rows = torch.tensor([[0.0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 1, 0]])
    codes = dictionary_of(rows, steps=3).encode(torch.tensor([[2.0, 2, 1]]))
    assert (
        codes.to_dense().tolist()
        == [[1, 2, 0, 2]]
        == brute(torch.tensor([[2.0, 2, 1]]).double(), rows.double(), 0, 3)[0].tolist()
    )


def test_by_hand_an_atom_chosen_again_stands_once():
    """d₀ = (1, 0), d₁ = (.8, .6), x = (1, 1): d₁ for 1.4, r = (−.12, .16); no d₀ is positive, d₁ has 0: stop. Signed:
    d₀ for −.12, r = (0, .16); d₁ for .096, which is added to its 1.4."""
    rows, x = torch.tensor([[1.0, 0], [0.8, 0.6]]).double(), torch.tensor([[1.0, 1]]).double()
    once = dictionary_of(rows, steps=1).encode(x)
    assert once.to_dense()[0].tolist() == pytest.approx([0, 1.4])
    codes = dictionary_of(rows, steps=3, signed=True).encode(x)
    assert codes.to_dense()[0].tolist() == pytest.approx([-0.12, 1.496])
    assert len(codes.values) == 2 and codes.indices.tolist() == [0, 1]


def test_the_residual_never_grows_and_is_orthogonal_to_the_last_atom():
    rows = unit(20, 6)
    x = 3 * torch.randn(50, 6, generator=torch.Generator().manual_seed(3)).double()
    dictionary = dictionary_of(rows, steps=12)
    before, codes = x.norm(dim=1), torch.zeros(50, 20).double()
    for steps in range(1, 13):
        z = dictionary.at(steps=steps).encode(x).to_dense()
        r = x - z @ rows
        assert (r.norm(dim=1) <= before + 1e-12).all(), "more steps are never worse"
        changed = (z - codes).abs()
        last = changed.argmax(1)
        assert ((changed > 1e-12).sum(1) <= 1).all(), "a step moves one atom"
        assert (rows[last] * r).sum(1).abs().max() < 1e-12 * x.norm(dim=1).max()
        before, codes = r.norm(dim=1), z
    assert dictionary.method.steps == 12, "at() is a view"


def test_on_an_orthonormal_dictionary_it_is_exact():
    """d steps and signed codes reconstruct anything: z_i = ⟨d_i, x − b⟩; unsigned the positive ones alone."""
    rows, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(4)).double())
    bias = torch.arange(6).double()
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(5)).double()
    signed = dictionary_of(rows, bias, steps=6, signed=True)
    assert torch.allclose(signed(x), x, atol=1e-12)
    assert torch.allclose(signed.encode_dense(x), (x - bias) @ rows.T, atol=1e-12)
    positive = dictionary_of(rows, bias, steps=6).encode_dense(x)
    assert torch.allclose(positive, ((x - bias) @ rows.T).clamp_min(0), atol=1e-12)


def test_what_is_left_of_rounding_is_no_latent():
    """One atom alone makes x: after it, ‖r‖ is 1e-7 of x, and no further atom is chosen for that."""
    rows = unit(30, 16).float()
    codes = dictionary_of(rows, steps=8).encode(torch.arange(1, 31)[:, None] * rows)
    assert codes.l0.tolist() == [1] * 30 and codes.indices.tolist() == list(range(30))


def test_shapes():
    dictionary = dictionary_of(unit(9, 4).float(), steps=3)
    x = torch.randn(2, 5, 4)
    codes = dictionary.encode(x)
    assert codes.shape == (2, 5) and torch.equal(codes.to_dense().flatten(0, 1), dictionary.encode_dense(x.view(10, 4)))
    assert dictionary.encode(x[0, 0]).shape == () and dictionary.encode(x[0, :0]).shape == (0,)
    assert dictionary.encode(torch.zeros(3, 4)).l0.tolist() == [0, 0, 0]


def test_parts_of_a_large_batch_are_as_one(monkeypatch):
    dictionary, x = dictionary_of(unit(9, 4), steps=3), torch.randn(23, 4).double()
    whole = dictionary.encode_dense(x)
    monkeypatch.setattr("saekit.dictionaries.parts.pursuit.PRODUCTS_AT_ONCE", 40)  # four tokens
    assert torch.allclose(dictionary.encode_dense(x), whole, atol=1e-14)


def test_the_gradient_of_the_error_by_finite_differences():
    """In rows, bias and x, where a small step changes no choice of an atom."""
    rows, x = unit(8, 4, seed=6), torch.randn(10, 4, generator=torch.Generator().manual_seed(7)).double()
    dictionary = dictionary_of(rows, steps=3, signed=True)
    directions, bias = dictionary.decoder.directions, dictionary.decoder.bias

    def total():
        return dictionary.loss(Batch.of(x), State()).total

    found = torch.autograd.grad(total(), [directions, bias])
    chosen = dictionary.encode(x).indices
    for parameter, gradient in zip((directions, bias), found, strict=True):
        numeric, flat = torch.zeros_like(gradient).flatten(), parameter.data.flatten()
        for i in range(len(flat)):
            sides = []
            for step in (1e-6, -1e-6):
                moved = flat.clone()
                moved[i] += step
                parameter.data = moved.view_as(parameter)
                sides.append(float(total().detach()))
                assert torch.equal(dictionary.encode(x).indices, chosen)
            numeric[i] = (sides[0] - sides[1]) / 2e-6
            parameter.data = flat.view_as(parameter)
        assert torch.allclose(numeric.view_as(gradient), gradient, atol=1e-7) and gradient.abs().max() > 1e-3


def test_planted_atoms_are_found():
    """Two of 24 directions in 12 dimensions, strengths 1 to 2."""
    generator = torch.Generator().manual_seed(8)
    planted = torch.nn.functional.normalize(torch.randn(24, 12, generator=generator), dim=1)
    latents = torch.rand(4000, 24, generator=generator).topk(2).indices
    x = torch.zeros(4000, 24).scatter(1, latents, 1 + torch.rand(4000, 2, generator=generator)) @ planted
    method = sk.MatchingPursuit(d_sae=32, steps=2)
    run = sk.train(x, None, method, tokens=60_000, batch_size=256, dtype=torch.float32, callback=lambda _: None)
    found = (planted @ run.dictionary.decoder_directions.T).amax(1)
    assert sk.metrics.explained_variance(x, run.dictionary(x)) > 0.9 and found.median() > 0.97


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sk.MatchingPursuit(d_sae=4, steps=0), "steps is a whole number from 1, found 0"),
        (lambda: sk.MatchingPursuit(d_sae=4, tolerance=1.0), "from 0 to below 1, found 1"),
        (lambda: sk.MatchingPursuit(d_sae=4).build(sk.Wiring("a", "b"), {"a": 2, "b": 2}), "writes the one site"),
        (lambda: sk.MatchingPursuit(d_sae=4).build(sk.Wiring(["a", "b"]), {"a": 2, "b": 2}), "writes the one site"),
        (lambda: dictionary_of(unit(4, 3)).at(signed=True), "steps, tolerance can be changed after training"),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
