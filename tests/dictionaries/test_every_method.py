"""What every method keeps, whatever it computes: on micro and beside it a dictionary trains, stops and goes on, is
rescaled, saved, loaded, evaluated, edited and spliced."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.training.run import TIMES

METHODS: dict[str, sk.Method] = {
    "TopK": sk.TopK(d_sae=256, k=16),
    "BatchTopK": sk.BatchTopK(d_sae=256, k=16),
    "ReLU": sk.ReLU(d_sae=256),
    "JumpReLU": sk.JumpReLU(d_sae=256, l0=16),
    "Gated": sk.Gated(d_sae=256, l0=16),
    "MatchingPursuit": sk.MatchingPursuit(d_sae=256, steps=8),
    "ITDA": sk.ITDA(d_sae=256, k=8),
}
LEAST = dict.fromkeys(METHODS, 0.7) | {"ITDA": 0.6}
"""Explained variance on held-out text."""
named = pytest.mark.parametrize("name", METHODS)


@pytest.fixture(autouse=True)
def threads(one_thread: None) -> None: ...


@pytest.fixture
def trained(on_micro: Any, micro: Any) -> Any:
    """The run on micro, and its dictionary as one of micro's."""

    def of(name: str) -> Any:
        return on_micro(METHODS[name], tokens=20_000).dictionary.on(micro.model)

    return of


def same(one: Any, other: Any) -> None:
    assert list(one.state_dict()) == list(other.state_dict())
    for name, tensor in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


@named
def test_it_learns(name, trained, scores):
    sae = trained(name)
    variance, l0 = scores(sae)
    print(f"{name}: explained variance {variance:.3f} at L0 {l0:.1f}")
    assert variance > LEAST[name] and 4 < l0 < 100
    assert sae.d_sae == 256 and not any(p.requires_grad for p in sae.parameters())


@named
@pytest.mark.parametrize("scale", [4.0, 3.7])
def test_rescaled(name, scale, trained, micro, tmp_path):
    """encode'(s x) = s encode(x), decode'(s z) = s decode(z): bit for bit where s is a power of two."""
    sae = sk.load_dictionary(trained(name).save(tmp_path))
    x = micro.heldout[sae.site][:500]
    z, x_hat, largest = sae.encode_dense(x), sae(x), sae.latent_max.clone()
    sae.rescale({sae.site: scale})
    after = sae.encode_dense(scale * x)
    if scale == 4.0:
        assert torch.equal(after, scale * z) and torch.equal(sae(scale * x), scale * x_hat)
    else:  # of choices that hang on a hair some may fall otherwise
        other = ((after != 0) != (z != 0)).any(1)
        assert other.float().mean() < 0.01
        assert torch.allclose(after[~other], scale * z[~other], rtol=1e-3, atol=1e-4 * scale * float(z.abs().max()))
        assert torch.allclose(sae(scale * x)[~other], (scale * x_hat)[~other], rtol=1e-3, atol=1e-3)
    assert torch.allclose(sae.latent_max, scale * largest)


@named
def test_saved_and_loaded(name, trained, micro, tmp_path):
    sae = trained(name)
    loaded = sk.load_dictionary(sae.save(tmp_path))
    same(sae, loaded)
    assert type(loaded) is type(sae) and loaded.method == sae.method and loaded.provenance == sae.provenance
    x = micro.heldout[sae.site][:50]
    assert torch.equal(loaded(x), sae(x)) and loaded.signed == sae.signed


@named
def test_stopped_and_resumed_to_the_same_bits(name, tmp_path):
    """On an array, 12 steps, stopped after the fifth; all that a method remembers is in the checkpoint."""
    x = torch.randn(700, 16, generator=torch.Generator().manual_seed(0)) + 1
    fields = {"d_sae": 40} | {k: 4 for k in ("k", "l0", "steps") if hasattr(METHODS[name], k)}
    method = type(METHODS[name])(**fields)
    train = functools.partial(sk.train, x, None, method, tokens=12 * 64, batch_size=64, lr=1e-2)

    def stop(progress):
        if progress.tokens == 5 * 64:
            raise KeyboardInterrupt

    whole = train(callback=lambda _: None)
    assert not train(out=tmp_path, callback=stop).finished
    resumed = train(out=tmp_path, callback=lambda _: None)
    same(whole.dictionary, resumed.dictionary)
    without = [{k: v for k, v in record.items() if k not in TIMES} for record in whole.records]
    assert [{k: v for k, v in record.items() if k not in TIMES} for record in resumed.records] == without


@named
def test_evaluated(name, trained, scores, micro):
    """On other held-out text, by the report's own definitions: near what its activations say, and of use to micro."""
    sae = trained(name)
    texts = [
        document.text for document, _ in zip(sk.load_corpus("microworld", split="heldout"), range(15), strict=False)
    ]
    report = sk.evaluate(micro.model, sae, texts)
    variance, l0 = scores(sae)
    assert report.explained_variance == pytest.approx(variance, abs=0.1) and report.l0 == pytest.approx(l0, rel=0.15)
    assert 0.5 < report.ce_recovered <= 1.01 and len(report.density) == sae.d_sae


@named
def test_edited(name, trained, micro):
    """h' = h + (z'_i − z_i) d_i: a latent that is on is taken out; what it wrote is gone from the activation."""
    sae, site = trained(name), "blocks.1.hook_resid_post"
    tokens = torch.tensor([micro.model.tokenizer("Anna lives in Paris and works as a nurse.")["input_ids"]])
    seen: list[torch.Tensor] = []
    keep = [(site, lambda h, hook: seen.append(h.clone()))]
    with micro.model.hooks(fwd_hooks=keep), torch.no_grad():
        micro.model(tokens)
    z = sae.encode_dense(seen[0])[0]
    latent = int(z[1:].abs().amax(0).argmax())
    for edit, new in (
        (sk.Edit(sae, latent, "ablate"), torch.zeros_like(z[:, latent])),
        (sk.Edit(sae, latent, strength=-0.5), z[:, latent] - 0.5 * sae.latent_max[latent]),
    ):
        seen.clear()
        with sk.edited(micro.model, edit), micro.model.hooks(fwd_hooks=keep), torch.no_grad():
            micro.model(tokens)
        with micro.model.hooks(fwd_hooks=keep), torch.no_grad():
            micro.model(tokens)
        expected = (new - z[:, latent])[:, None] * sae.decoder_directions[latent]
        assert expected.abs().max() > 0.1 and torch.allclose(seen[0][0] - seen[1][0], expected, atol=1e-3)


@named
def test_spliced(name, trained, micro):
    """x̂ stands where h stood, BOS apart."""
    sae, site = trained(name), "blocks.1.hook_resid_post"
    tokens = torch.tensor([[micro.model.tokenizer.bos_token_id, *range(40, 60)]])
    seen: list[torch.Tensor] = []
    keep = [(site, lambda h, hook: seen.append(h.clone()))]
    with micro.model.hooks(fwd_hooks=keep), torch.no_grad():
        clean = micro.model(tokens)
    with sk.spliced(micro.model, sae), micro.model.hooks(fwd_hooks=keep), torch.no_grad():
        changed = micro.model(tokens)
    assert torch.allclose(seen[1][0, 1:], sae(seen[0])[0, 1:], atol=1e-3)
    assert torch.equal(seen[1][0, 0], seen[0][0, 0]) and not torch.allclose(changed, clean, atol=1e-2)


def test_all_of_them_share_a_pass():
    """Learners of both kinds side by side, each as it is alone."""
    x = torch.randn(500, 12, generator=torch.Generator().manual_seed(0))
    methods = [sk.JumpReLU(d_sae=24, l0=3), sk.ITDA(d_sae=24, k=3), sk.dictionaries.PCA(d_sae=4), sk.Gated(d_sae=24)]
    train = functools.partial(sk.train, x, None, tokens=512, batch_size=64, callback=lambda _: None)
    together = train(methods).dictionaries
    for method, sae in zip(methods, together, strict=True):
        same(train([method, sk.TopK(d_sae=24, k=3)]).dictionaries[0], sae)
