"""latent_max is the largest |z|: the unit of a strength, of latents that are only ever negative too."""

from __future__ import annotations

import functools

import pytest
import torch

import saekit as sk
from saekit.dictionaries import PCA

SITE = "blocks.0.hook_resid_post"
train = functools.partial(sk.train, callback=lambda _: None)


@pytest.fixture(scope="module")
def x():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(500, 16, generator=generator) * torch.linspace(0.5, 3, 16)


def test_of_the_rows_by_hand():
    """Codes (3, −5), (−4, 2), (0, 1): maxima 4 and 5."""
    sae = sk.dictionaries.Neurons(d_sae=2).build(sk.Wiring("x"), {"x": 2})
    with torch.no_grad():
        for directions in (sae.encoder.directions, sae.decoder.directions):
            directions.copy_(torch.eye(2))
    rows = torch.tensor([[3.0, -5], [-4, 2], [0, 1]])
    assert sk.measure_latent_max(None, sae, rows).tolist() == [4, 5] == sae.latent_max.tolist()
    assert sk.measure_latent_max(None, sae, rows, tokens=1).tolist() == [3, 5]


@pytest.mark.parametrize("method", [PCA(d_sae=6), PCA(d_sae=6, k=2), sk.ITDA(d_sae=40, k=4)], ids=str)
def test_of_signed_codes_it_is_the_largest_size(method, x):
    sae = train(x, None, method, batch_size=100, tokens=2000).dictionary
    assert sae.signed
    z = sae.encode_dense(x)
    assert torch.allclose(sae.latent_max, z.abs().amax(0), rtol=1e-5)
    assert (z.abs().amax(0) > z.amax(0)).any(), "some latent is strongest where it is negative"


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_a_latent_that_is_only_negative_is_moved_by_strengths(tiny_gpt2):
    """z ≤ 0 everywhere: the largest z would be 0, and no strength would do anything. −1 adds −max|z| along d."""
    texts = ["the cat sat on the mat", "a dog is in the other room"]
    acts = sk.activations.harvest(tiny_gpt2, texts, [SITE])
    h = acts.flat(SITE)
    sae = train({SITE: h}, None, PCA(d_sae=3), tokens=len(h)).dictionary
    lowest = sae.encode_dense(h)[:, 0].max()
    with torch.no_grad():  # the first component's mean, moved so that all of its codes are below 0
        sae.encoder.bias[0] = -lowest - 1
    sk.measure_latent_max(None, sae, {SITE: h})
    z = sae.encode_dense(h)[:, 0]
    assert z.max() < 0 and float(sae.latent_max[0]) == pytest.approx(float(-z.min()))
    tokens = torch.arange(10, 20)[None]
    seen: list[torch.Tensor] = []
    keep = [(SITE, lambda h, hook: seen.append(h.clone()))]
    for strength in (-1.0, 0.0, 1.0):
        with sk.edited(tiny_gpt2, sk.Edit(sae, 0, strength=strength)), tiny_gpt2.hooks(fwd_hooks=keep):
            tiny_gpt2(tokens)
    step = -z.min() * sae.decoder_directions[0]
    assert torch.allclose(seen[0] - seen[1], -step.expand_as(seen[0]), atol=1e-4) and step.norm() > 1
    assert torch.allclose(seen[2] - seen[1], step.expand_as(seen[0]), atol=1e-4)
