"""Baselines: exact where they must be, equal to the libraries', and kept in files like any dictionary."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import saekit as sk
from saekit.dictionaries import ICA, PCA, FrozenDecoder, Neurons, RandomDirections
from saekit.metrics import explained_variance, l0


def fit(method: sk.Method, x: torch.Tensor, site: str = "x") -> Any:
    return sk.train({site: x}, None, method, callback=lambda _: None).dictionary


@pytest.fixture(scope="module")
def x():
    """Three independent, skewed sources in six dimensions, and a large mean."""
    generator = torch.Generator().manual_seed(0)
    sources = -torch.rand(3_000, 3, generator=generator).log()
    mixing = torch.randn(3, 6, generator=generator)
    return sources @ mixing + 0.01 * torch.randn(3_000, 6, generator=generator) + 50


def test_neurons_reconstruct_exactly(x):
    dictionary = fit(Neurons(d_sae=6), x)
    assert explained_variance(x, dictionary(x)) == pytest.approx(1) and l0(dictionary.encode(x)) == 6


def test_pca_against_scikit_learn(x):
    from sklearn.decomposition import PCA as TheirPCA

    theirs = TheirPCA(3).fit(x.double().numpy())
    dictionary = fit(PCA(d_sae=3), x)
    cosines = (dictionary.decoder_directions.double() * torch.from_numpy(theirs.components_)).sum(1).abs()
    assert torch.allclose(cosines, torch.ones(3, dtype=torch.float64), atol=1e-5)
    expected = torch.from_numpy(theirs.inverse_transform(theirs.transform(x.double().numpy()))).float()
    assert torch.allclose(dictionary(x), expected, atol=1e-3)
    kept = [explained_variance(x, fit(PCA(d_sae=d), x)(x)) for d in (1, 2, 3, 6)]
    assert kept == sorted(kept) and kept[2] > 0.999 and kept[3] == pytest.approx(1)


def test_train_fits_them_and_does_not_train_random_directions(x):
    """In batches or at once, beside a method that is trained: always the components of all tokens."""
    from sklearn.decomposition import PCA as TheirPCA

    theirs = torch.from_numpy(TheirPCA(3).fit(x.double().numpy()).components_).float()
    quiet = {"callback": lambda _: None}
    alone = sk.train(x, None, PCA(d_sae=3), **quiet)
    beside = sk.train(x, None, [sk.TopK(d_sae=12, k=2), PCA(d_sae=3)], batch_size=300, **quiet)
    for dictionary in (alone.dictionary, beside.dictionaries[1]):
        assert ((dictionary.decoder_directions * theirs).sum(1).abs() > 1 - 1e-5).all()
        assert torch.equal(dictionary.encoder_directions, dictionary.decoder_directions)
        assert torch.allclose(dictionary.decoder_bias, x.mean(0), atol=1e-4)
    assert alone.records[-1]["explained_variance"] == pytest.approx(
        explained_variance(x, alone.dictionary(x)), abs=1e-4
    )


def test_ica_finds_the_sources_and_reconstructs(x):
    dictionary = fit(ICA(d_sae=3), x)
    assert explained_variance(x, dictionary(x)) > 0.999
    generator = torch.Generator().manual_seed(0)
    sources = -torch.rand(3_000, 3, generator=generator).log()
    both = torch.corrcoef(torch.cat([sources, dictionary.encode_dense(x)], 1).T)[:3, 3:].abs()
    assert both.amax(1).min() > 0.98


def test_the_k_largest_in_size_are_kept_with_their_sign(x):
    dictionary = fit(PCA(d_sae=6, k=2), x)
    whole = fit(PCA(d_sae=6), x).encode_dense(x)
    z = dictionary.encode_dense(x)
    assert l0(dictionary.encode(x)) == 2 and bool((z < 0).any())
    assert torch.equal(z.abs().topk(2).values, whole.abs().topk(2).values)


def test_random_directions_and_a_frozen_decoder(x):
    one, two = fit(RandomDirections(d_sae=9), x), fit(RandomDirections(d_sae=9, seed=1), x)
    assert torch.allclose(one.decoder_directions.norm(dim=1), torch.ones(9))
    assert not torch.equal(one.decoder_directions, two.decoder_directions)
    quiet = {"tokens": 6_000, "batch_size": 100, "callback": lambda _: None}
    frozen = sk.train(x, None, FrozenDecoder(d_sae=12, k=3), **quiet).dictionary
    begun = FrozenDecoder(d_sae=12, k=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = begun.build(sk.Wiring("x"), {"x": 6}).decoder_directions
    assert torch.allclose(frozen.decoder_directions, expected, atol=1e-6)
    free = sk.train(x, None, sk.TopK(d_sae=12, k=3), **quiet).dictionary
    scores = [explained_variance(x, d(x)) for d in (frozen, free)]
    assert 0.2 < scores[0] < scores[1]


@pytest.mark.parametrize(
    "configuration", [PCA(d_sae=4, k=2), ICA(d_sae=3), Neurons(d_sae=6), RandomDirections(d_sae=9)]
)
def test_kept_in_a_file(x, configuration, tmp_path):
    dictionary = fit(configuration, x, site="blocks.0.hook_resid_post")
    assert torch.allclose(dictionary.latent_max, dictionary.encode_dense(x).abs().amax(0))
    dictionary.save(tmp_path)
    loaded = sk.load_dictionary(tmp_path)
    assert loaded.method == configuration and loaded.site == "blocks.0.hook_resid_post"
    assert torch.equal(loaded(x), dictionary(x))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: fit(Neurons(d_sae=5), x), "there are 6 neurons here"),
        (lambda x: fit(PCA(d_sae=7), x), "at most 6 components here, found d_sae=7"),
        (lambda x: fit(ICA(d_sae=7), x), "at most 6 components"),
        (lambda x: fit(PCA(d_sae=2), x[:1]), "n ≥ 2"),
        (lambda x: PCA(d_sae=2, k=3), "k must be between 1 and d_sae = 2, found 3"),
    ],
)
def test_refused(x, wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(x)
