"""L0, density and dead latents: z ≠ 0 counts, whatever its sign; stored zeros do not; so does latent_max."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import SparseCodes, top_k

from saekit.dictionaries import TopK, Wiring
from saekit.metrics import dead, density, l0, measure_latent_max

# token 0: latents 0 and 2; token 1: nothing; token 2: latent 2, negative; token 3: latents 0, 1, 2
DENSE = torch.tensor([[1.0, 0, 2, 0, 0], [0, 0, 0, 0, 0], [0, 0, -3, 0, 0], [0.5, -0.5, 1e-30, 0, 0]])


def stored_zeros() -> SparseCodes:
    """The same codes with k = 3 entries a row, so that zeros are stored."""
    indices = torch.tensor([[2, 0, 4], [0, 1, 2], [4, 2, 0], [0, 1, 2]])
    return SparseCodes.from_topk(DENSE.gather(1, indices), indices, 5)


@pytest.mark.parametrize("codes", [SparseCodes.from_dense(DENSE), stored_zeros()], ids=["ragged", "stored zeros"])
def test_by_hand(codes):
    assert torch.equal(codes.to_dense(), DENSE)
    assert l0(codes) == (2 + 0 + 1 + 3) / 4
    assert density(codes).tolist() == [2 / 4, 1 / 4, 3 / 4, 0, 0]
    assert dead(codes) == 2 / 5


def test_mean_density_is_l0_over_latents():
    u = torch.randn(100, 40, generator=torch.Generator().manual_seed(0)) - 1
    codes = top_k(u, 12)  # some rows have fewer than 12 positive values
    assert l0(codes) < 12
    assert float(density(codes).sum()) == pytest.approx(l0(codes))
    assert dead(codes) == float((codes.to_dense() == 0).all(0).double().mean())


def test_leading_shape_does_not_matter():
    codes = SparseCodes.from_dense(DENSE)
    square = codes.view(2, 2)
    assert (l0(square), dead(square)) == (l0(codes), dead(codes))
    assert torch.equal(density(square), density(codes))


def test_nothing_fires():
    codes = SparseCodes.from_dense(torch.zeros(3, 4))
    assert (l0(codes), dead(codes), density(codes).tolist()) == (0.0, 1.0, [0.0] * 4)


def test_many_tokens_are_counted_exactly():
    """A float16 or float32 mean of counts would be off here."""
    n = 70_001
    codes = SparseCodes.from_topk(torch.ones(n, 1, dtype=torch.float16), torch.zeros(n, 1, dtype=torch.int64), 2)
    assert l0(codes) == 1.0
    assert density(codes).tolist() == [1.0, 0.0]


def test_latent_max_on_an_array():
    x = torch.randn(9000, 6, generator=torch.Generator().manual_seed(1))
    dictionary = TopK(d_sae=20, k=3).build(Wiring("x"), {"x": 6})
    with torch.no_grad():
        dictionary.encoder_bias[7] = -1000.0
    assert bool(dictionary.latent_max.isnan().all())
    measured = measure_latent_max(None, dictionary, x)
    assert torch.allclose(measured, dictionary.encode_dense(x).amax(0))
    assert torch.equal(measured, dictionary.latent_max) and float(measured[7]) == 0.0
    assert dictionary.provenance.latent_max == {"corpus": None, "tokens": 9000}
    measure_latent_max(None, dictionary, x, tokens=50)
    assert torch.allclose(dictionary.latent_max, dictionary.encode_dense(x[:50]).amax(0))
    assert dictionary.provenance.latent_max["tokens"] == 50
