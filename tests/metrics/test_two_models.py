"""evaluate and measure_latent_max of a dictionary over two models: from dense codes and plain passes of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.dictionaries import Provenance

SITES = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
A, B = f"a:{SITES[0]}", f"b:{SITES[0]}"
TEXTS = [f"the cat sat on {a} and the {b} saw it" for a in "abcd" for b in ("dog", "bat", "hen")]


@pytest.fixture(scope="module")
def models(tiny_gpt2: Any, tiny_copy: Any) -> dict[str, Any]:
    return {"a": tiny_gpt2, "b": tiny_copy}


def built(models: dict[str, Any], reads: list[str], writes: list[str] | None = None) -> Any:
    """A random dictionary at these sites."""
    wiring = sk.Wiring(reads, writes)
    sae: Any = sk.TopK(d_sae=30, k=4).build(wiring, dict.fromkeys(wiring.sites, 16)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in (sae.encoder_directions, sae.decoder_directions, sae.decoder_bias):
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    made_on = [{name: getattr(model, key) for name, model in models.items()} for key in ("model_name", "model_hash")]
    sae.provenance = Provenance(*made_on, prepend_bos=True) if models else Provenance()
    return sae


@pytest.fixture(scope="module")
def sae(models: dict[str, Any]) -> Any:
    return built(models, [A, B])


@pytest.fixture(scope="module")
def x(models: dict[str, Any]) -> dict[str, Tensor]:
    """[n, d] by site, each model read by itself."""
    acts = {name: sk.activations.harvest(model, TEXTS, SITES) for name, model in models.items()}
    return {f"{name}:{site}": acts[name].flat(site) for name in models for site in SITES}


def share(x: Tensor, x_hat: Tensor) -> float:
    x, x_hat = x.double(), x_hat.double()
    return float(1 - (x - x_hat).square().sum() / (x - x.mean(0)).square().sum())


def test_codes_of_both(models: Any, sae: Any, x: dict[str, Tensor]) -> None:
    report = sk.evaluate(models, sae, TEXTS)
    z, x_hat = sae.encode_dense(x), sae(x)
    assert report.explained_variance == pytest.approx(
        share(torch.cat([x[A], x[B]], 1), torch.cat([x_hat[A], x_hat[B]], 1)), abs=1e-6
    )
    for site in (A, B):
        assert report[f"explained variance at {site}"] == pytest.approx(share(x[site], x_hat[site]), abs=1e-6)
    assert report.l0 == pytest.approx(float((z != 0).sum(1).float().mean()))
    assert torch.allclose(report.density.double(), (z != 0).double().mean(0))
    assert report.header["models"] == ", ".join(f"{n}: {m.model_name} ({m.model_hash[:12]})" for n, m in models.items())
    assert "a: " in repr(report) and report.recovered is None


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_each_recovers_apart(models: Any, sae: Any, x: dict[str, Tensor], ablation: str) -> None:
    """A plain pass of each model with its part of x̂ in place, codes from both models' clean activations."""
    report = sk.evaluate(models, sae, TEXTS, ablation=ablation, ce_tokens=None)
    x_hat = sae(x)
    for name, model in models.items():
        site, rows = f"{name}:{SITES[0]}", sk.activations.tokenize(model, TEXTS)
        ablated = torch.zeros(16) if ablation == "zero" else x[site].mean(0)
        ce: dict[str, float] = {}
        for what, value in (("clean", None), ("spliced", x_hat[site]), ("ablated", ablated.expand_as(x[site]))):

            def at(h: Tensor, hook: Any, value: Any = value, mask: Any = rows.mask[..., None]) -> Tensor:
                return h if value is None else h.masked_scatter(mask, value)

            with torch.no_grad():
                logits = model.run_with_hooks(rows.tokens, fwd_hooks=[(SITES[0], at)])
            log_p = logits.log_softmax(-1)[:, :-1].gather(2, rows.tokens[:, 1:, None])[..., 0]
            ce[what] = -float(log_p[rows.predicts[:, :-1]].mean())
        recovered = report.recovered_of[name]
        assert recovered.ce_clean == pytest.approx(ce["clean"], abs=1e-5)
        assert recovered.ce_spliced == pytest.approx(ce["spliced"], abs=1e-5)
        assert recovered.ce_ablated == pytest.approx(ce["ablated"], abs=1e-5)
        assert report[f"CE recovered of {name}"] == recovered.ce_recovered and recovered.tokens == rows.predicts.sum()
        assert sk.metrics.recovered(models, sae, rows, ablation=ablation, of=name).ce_spliced == recovered.ce_spliced
    assert report["CE recovered of a"] != report["CE recovered of b"]


def test_one_that_is_only_read(models: Any, x: dict[str, Tensor]) -> None:
    """A transcoder from a model into its copy: the copy alone predicts with it."""
    later = f"a:{SITES[1]}"
    report = sk.evaluate(models, built(models, [later], [B]), TEXTS, ce_tokens=50)
    assert set(report.recovered_of) == {"b"} and report.l0 == 4
    with pytest.raises(ValueError, match="does not write the model 'a'; the only one is 'b'"):
        rows = sk.activations.tokenize(models["a"], TEXTS)
        sk.metrics.recovered(models, built(models, [later], [B]), rows, of="a")


def test_several_sites_of_one_model_have_their_shares(tiny_gpt2: Any, x: dict[str, Tensor]) -> None:
    sae = built({}, list(SITES)).on(tiny_gpt2)
    report = sk.evaluate(tiny_gpt2, sae, TEXTS, ce_tokens=50)
    of_a = {site: x[f"a:{site}"] for site in SITES}
    for site, x_hat in sae(of_a).items():
        assert report[f"explained variance at {site}"] == pytest.approx(share(of_a[site], x_hat), abs=1e-6)
    assert report.recovered is not None and not report.recovered_of


def test_the_largest_codes(models: Any, sae: Any, x: dict[str, Tensor]) -> None:
    found = sk.measure_latent_max(models, sae, TEXTS)
    assert torch.allclose(found, sae.encode_dense(x).amax(0), rtol=1e-5) and found.max() > 0


def test_what_else_reads_both(models: Any, sae: Any, x: dict[str, Tensor]) -> None:
    """Pooled codes, and the logit lens of each model's own rows."""
    z = sae.encode_dense(x)
    pooled = sk.metrics.pooled_codes(models, sae, TEXTS)
    first = int(sk.activations.tokenize(models["a"], TEXTS[:1]).mask.sum())
    assert torch.allclose(torch.as_tensor(pooled.codes.to_dense())[0], z[:first].amax(0), rtol=1e-5)
    for site, name in ((None, "a"), (B, "b")):
        logits = sae.decoder_directions_at(site or A)[5] @ models[name].W_U
        lens = sk.metrics.logit_lens(models, sae, 5, 1, site)
        assert lens.frame().logit.tolist() == [round(float(end), 3) for end in (logits.max(), logits.min())]


def test_bad_inputs(models: Any, sae: Any, tiny_gpt2: Any) -> None:
    """One clear sentence from each."""
    loose = built(models, [A, B])
    loose.provenance = Provenance()  # as one made of arrays: no hash to hold against
    wide: Any = sk.TopK(d_sae=8, k=2).build(sk.Wiring([A, B]), {A: 16, B: 24})
    refused: list[tuple[Any, Any, str]] = [
        (tiny_gpt2, sae, "made on the models a, b together: it does not run on one of them alone"),
        ({"a": tiny_gpt2, "c": tiny_gpt2}, sae, "and 'b' is not among those given, a, c"),
        ({"a": tiny_gpt2, "b": tiny_gpt2}, sae, "model_hash .* as its model 'b', this model is"),
        ({"a": tiny_gpt2, "b": sk.load_model("micro", device="cpu")}, loose, "have different tokenizers"),
        (models, wide, f"reads 24 values at '{B}', found 16"),
    ]
    for given, dictionary, message in refused:
        with pytest.raises(ValueError, match=message):
            sk.evaluate(given, dictionary, TEXTS)
        with pytest.raises(ValueError, match=message):
            sk.measure_latent_max(given, dictionary, TEXTS)
    back = built({}, [SITES[1]], [SITES[0]])
    with pytest.raises(ValueError, match=f"reads '{SITES[1]}', which the model reaches only after '{SITES[0]}'"):
        sk.evaluate(tiny_gpt2, back, TEXTS)


def test_on_another_pair(models: Any, sae: Any) -> None:
    """A view for other models of equal shape says what it was made on."""
    swapped = {"a": models["b"], "b": models["a"]}
    report = sk.evaluate(swapped, sae.on(swapped), TEXTS, ce_tokens=50)
    assert report.header["models"].startswith(f"a: {models['b'].model_name}")
    assert report.header["made on"].startswith(f"a: {models['a'].model_name}")
