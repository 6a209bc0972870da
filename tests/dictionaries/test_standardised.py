"""Standardised: by hand, beside its base on tokens that are standardised already, trained, saved, edited, spliced."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from saekit_kernels import using

import saekit as sk
from saekit.dictionaries import Method
from saekit.objectives import Batch, State

SITE, BEFORE = "blocks.1.hook_resid_post", "blocks.0.hook_resid_post"
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat")]
BASES: dict[str, Any] = {
    "TopK": sk.TopK(d_sae=24, k=3),
    "BatchTopK": sk.BatchTopK(d_sae=24, k=3),
    "JumpReLU": sk.JumpReLU(d_sae=24, l0=3),
    "Gated": sk.Gated(d_sae=24, l0=3),
    "skip": sk.TopK(d_sae=24, k=3, skip=True),
    "ITDA": sk.ITDA(d_sae=24, k=3),
    "PCA": sk.dictionaries.PCA(d_sae=8, k=3),
}
ROWS = ("encoder.directions", "decoder.directions")
named = pytest.mark.parametrize("name", BASES)


@pytest.fixture(autouse=True)
def threads(one_thread: None) -> None: ...


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layers(n: int = 600) -> dict[str, torch.Tensor]:
    """Three sites of one shape of activations, each 10 times as large as the one before, and off zero."""
    x = numbers(n, 8) @ numbers(8, 16, seed=1)
    return {f"l{layer}": 10.0**layer * (x + 0.3 * numbers(n, 16, seed=layer) + 5) for layer in range(3)}


def quiet(x: Any, wiring: Any, method: Any, corpus: Any = None, **more: Any) -> sk.Run:
    settings = {"tokens": 64 * 60, "batch_size": 64, "lr": 1e-2, "dtype": torch.float32, "callback": lambda _: None}
    return sk.train(x, wiring, method, corpus, **settings | more)


def built(name: str = "TopK", seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return sk.Standardised(BASES[name]).build(sk.Wiring("x"), {"x": 16}).requires_grad_(False)


def test_by_hand():
    """x = (1, 3, 5, 7): μ = 4, σ² = 5. The one latent reads (x − μ)/σ along its last axis and writes it twice."""
    sae = sk.Standardised(sk.TopK(d_sae=1, k=1)).build(sk.Wiring("x"), {"x": 4}).requires_grad_(False)
    sae.base.encoder.directions.copy_(torch.tensor([[0.0, 0, 0, 1]]))
    sae.base.decoder.directions.copy_(torch.tensor([[2.0, 0, 0, 0]]))
    x = torch.tensor([[1.0, 3, 5, 7], [-2, -2, -2, -2], [0, 0, 0, 0]])
    z = sae.encode(x)
    assert z.to_dense()[:, 0].tolist() == pytest.approx([3 / 5**0.5, 0, 0])
    assert sae.decode(z, x)[0].tolist() == pytest.approx([10, 4, 4, 4]), "σ · 2z + μ, and μ"
    assert torch.equal(sae(x)[1:], x[1:]), "a constant token is its mean"
    assert float(sae.pre_activations(x, torch.tensor([0]))[0]) == pytest.approx(3 / 5**0.5)
    loss = sae.loss(Batch.of(x[:1]), State())
    assert float(loss.error) == pytest.approx(9**2 + 1 + 1 + 3**2), "in units of x"
    assert float(loss.total) == pytest.approx((9**2 + 1 + 1 + 3**2) / 5 / 4), "in standardised ones, a dimension"


@named
def test_on_standardised_tokens_it_is_its_base(name):
    sae = built(name).eval()
    x = numbers(50, 16)
    x = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    codes = sae.encode(x)
    assert torch.allclose(codes.to_dense(), sae.base.encode_dense(x), atol=1e-5) and sae.signed == sae.base.signed
    assert torch.allclose(sae(x), sae.base.decode(codes, x), atol=1e-4)


@named
def test_the_size_and_the_mean_of_a_token_do_not_reach_its_codes(name):
    sae, x = built(name).eval(), numbers(50, 16)
    size, mean = 1 + 99 * torch.rand(50, 1), numbers(50, 1, seed=3)
    other, z = size * x + mean, sae.encode_dense(x)
    assert torch.allclose(sae.encode_dense(other), z, atol=1e-4)
    assert torch.allclose(sae(other), size * sae(x) + mean, rtol=1e-3, atol=1e-2)
    assert torch.equal(sae.encode_dense(4 * x), z) and torch.equal(sae(4 * x), 4 * sae(x)), "bit for bit"


def test_a_constant_token_is_not_blown_up():
    """Rounding of a mean is not taken for a direction."""
    x = torch.full((1, 768), 1000.3)
    assert sk.dictionaries.standardised.standard(x)[0].abs().max() < 0.2
    assert torch.isfinite(sk.dictionaries.standardised.standard(torch.zeros(2, 8))[0]).all()


@named
def test_it_trains_on_three_layers_and_explains_each(name):
    """The plain method on their union, whose scale is the last layer's, loses the first one."""
    x, wiring = layers(), sk.Wiring(["l0", "l1", "l2"], each=True)
    run = quiet(x, wiring, sk.Standardised(BASES[name]), tokens=64 * 120)
    sae, found = run.dictionary, []
    for site in x:
        found.append(sk.evaluate(x[site], sae.at(site=site)).explained_variance)
        assert torch.allclose(sae.at(site=site)(x[site]), sae(x)[site])
    plain = quiet(x, wiring, BASES[name], tokens=64 * 120).dictionary if name == "TopK" else None
    print(name, found, plain and [sk.evaluate(x[s], plain.at(site=s)).explained_variance for s in x])
    assert min(found) > 0.3 and max(found) - min(found) < 0.15, found
    assert plain is None or sk.evaluate(x["l0"], plain.at(site="l0")).explained_variance < 0
    assert torch.allclose(sae.latent_max, torch.stack([sae.encode_dense(h).abs() for h in x.values()]).amax((0, 1)))


def test_what_its_run_says_is_in_units_of_x():
    x = layers()["l1"]
    run = quiet(x, None, sk.Standardised(BASES["TopK"]), tokens=600 * 20, batch_size=600)
    assert run.records[-1]["explained_variance"] == pytest.approx(
        sk.metrics.explained_variance(x, run.dictionary(x)), abs=0.01
    )


@named
def test_stopped_and_resumed_to_the_same_bits_saved_and_loaded(name, tmp_path):
    def stop(progress):
        if progress.tokens == 5 * 64:
            raise KeyboardInterrupt

    wiring = sk.Wiring(["l0", "l1", "l2"], each=True)
    train = functools.partial(quiet, layers(), wiring, sk.Standardised(BASES[name]), tokens=12 * 64)
    whole = train().dictionary
    assert train(out=tmp_path, callback=stop).finished == (name == "PCA"), "which is measured at its end alone"
    resumed, loaded = train(out=tmp_path).dictionary, sk.load_dictionary(tmp_path / "dictionary")
    for sae in (resumed, loaded):
        assert list(sae.state_dict()) == list(whole.state_dict()) and sae.method == whole.method
        assert all(torch.equal(tensor, whole.state_dict()[key]) for key, tensor in sae.state_dict().items())
    x = layers()["l1"]
    assert loaded.wiring == wiring and torch.equal(loaded.at(site="l1")(x), whole.at(site="l1")(x))


def test_the_dead_learn_and_the_kernels_give_what_plain_torch_gives():
    """Eight latents too small to be kept: AuxK alone gives them a gradient, on either path the same."""
    x, dead, found = numbers(512, 16) * torch.rand(512, 1) + 3, torch.arange(24) < 8, []
    for kernels, silent in (("reference", 8), ("cpu", 8), ("reference", 0)):
        sae = built(seed=1).requires_grad_(True)
        with torch.no_grad():
            sae.base.encoder.directions[:8] *= 0.01
            sae.base.encoder.bias[8:] = 5.0  # so that enough of the others are kept
        with using(kernels):
            loss = sae.loss(Batch.of(x), State(dead=dead & (silent > 0), n_dead=silent))
            loss.total.backward()
        found.append((loss.total.detach(), loss.error, *[sae.base.get_parameter(name).grad for name in ROWS]))
    (*plain, read, written), fast, (*_, read_without, written_without) = found
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(found[0], fast, strict=True)), plain
    assert float(written[:8].norm(dim=1).min()) > 0 and float(read[:8].norm(dim=1).min()) > 0
    assert not written_without[:8].any() and not read_without[:8].any()


def test_gradients_are_those_by_what_is_standardised():
    """∂L/∂z = σ ∂L/∂x, by the difference that a step along one axis of z makes."""
    x, w = numbers(3, 6).double(), numbers(6, seed=2).double()
    z, mean, size = sk.dictionaries.standardised.standard(x)
    seen: list[Batch] = []

    class Base:
        def loss(self, batch: Batch, state: State) -> Any:
            seen.append(batch)
            return sk.objectives.Loss(torch.zeros(()), torch.zeros(3), sk.SparseCodes.from_dense(torch.zeros(3, 1)))

    sae = built()
    object.__setattr__(sae, "base", Base())
    sae.__dict__["_modules"].pop("base")
    sae.loss(replace(Batch.of(x), gradients={"x": (2 * x * w)}), State())
    step = 1e-6
    for axis in range(6):
        moved = z.clone()
        moved[:, axis] += step
        change = (((moved * size + mean).square() - x.square()) @ w) / step
        assert torch.allclose(seen[0].gradients["x"][:, axis], change, atol=1e-4)


# -- in a model --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tiny_gpt2: Any) -> sk.Run:
    wiring = sk.Wiring([BEFORE, SITE], each=True)
    return quiet(tiny_gpt2, wiring, sk.Standardised(sk.TopK(d_sae=32, k=4)), TEXTS, tokens=48 * 120, batch_size=48)


def test_an_edit_changes_a_token_in_units_of_its_size(tiny_gpt2, run):
    sae, tokens = run.dictionary, sk.activations.tokenize(tiny_gpt2, TEXTS[:2]).tokens
    h = sk.models.forward(tiny_gpt2, tokens, SITE).kept[SITE]
    size = h.std(-1, correction=0, keepdim=True)
    latent = int(sae.encode_dense(h).amax((0, 1)).argmax())
    z, d = sae.encode_dense(h)[..., latent, None], sae.decoder_directions[latent]
    for each in (sk.Edit(sae, latent, "ablate", site=SITE), sk.Edit(sae.at(site=SITE), latent, "ablate")):
        assert torch.allclose(each.change(h), -size * z * d, atol=1e-4) and float((size * z).max()) > 0.1
    added = sk.Edit(sae, latent, strength=2, site=SITE).change(h)
    assert torch.allclose(added, size * 2 * sae.latent_max[latent] * d, atol=1e-3)
    seen = []
    with sk.edited(tiny_gpt2, sk.Edit(sae, latent, strength=2, site=SITE)), torch.no_grad():
        seen.append(tiny_gpt2(tokens))
    assert not torch.allclose(seen[0], tiny_gpt2(tokens), atol=1e-2)
    with pytest.raises(ValueError, match="'project' caps a length, which in a dictionary of standardised tokens"):
        sk.Edit(sae, latent, "project", site=SITE)


def test_spliced_it_is_there_and_with_its_error_the_model_is_itself(tiny_gpt2, run):
    tokens = sk.activations.tokenize(tiny_gpt2, TEXTS[:2]).tokens
    clean = tiny_gpt2(tokens)
    with sk.spliced(tiny_gpt2, run), torch.no_grad():
        spliced = tiny_gpt2(tokens)
    with sk.spliced(tiny_gpt2, run, error=True), torch.no_grad():
        assert torch.allclose(tiny_gpt2(tokens), clean, atol=1e-4)
    assert 1e-4 < float((spliced - clean).detach().abs().mean()) < 3 * float(clean.detach().std())


def test_evaluated_stored_and_asked_for_effects(tiny_gpt2, run, tmp_path):
    sae = run.dictionary.at(site=SITE)
    assert type(sae) is type(run.dictionary) and sae.provenance == run.dictionary.provenance and sae.site == SITE
    assert run.dictionary.reads == (BEFORE, SITE), "the view leaves what it is of alone"
    report = sk.evaluate(tiny_gpt2, sae, TEXTS, ce_tokens=200)
    assert report.explained_variance > 0.5 and report.ce_recovered > 0.3 and 3 < report.l0 <= 4
    store = sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, tmp_path / "store", top=2, random=2, per_band=1)
    fired = store.latents().query("density > 0")
    assert len(fired) > 3 and "<" in store.feature(int(fired["latent"].iloc[0]))._repr_html_()
    w, keep = numbers(16), "ln_final.hook_in"
    scalar = lambda passed, _: passed.kept[keep][:, -1] @ w  # noqa: E731
    found = sk.interventions.latent_effects(tiny_gpt2, sae, TEXTS[:1], scalar, method="exact", keep=keep)
    tokens = sk.activations.tokenize(tiny_gpt2, TEXTS[:1]).tokens
    size = sk.models.forward(tiny_gpt2, tokens, SITE).kept[SITE][0, -1].std(correction=0)
    last = found.z.to_dense()[0, -1]
    assert torch.allclose(found.codes.to_dense()[0, -1], size * last * (sae.decoder_directions @ w), atol=1e-3)
    assert float(found.codes.values.abs().max()) > 0.1


def test_views(tiny_gpt2, run):
    sae = run.dictionary
    few = sae.at(k=2)
    x = numbers(5, 16)
    assert (few.encode(x).l0 <= 2).all() and few.method == sk.Standardised(sk.TopK(d_sae=32, k=2))
    assert torch.equal(few.at(site=SITE).encode_dense(7 * x), few.encode_dense(7 * x)) and sae.method.base.k == 4
    assert sae.on(tiny_gpt2).standardised and sae.on(tiny_gpt2).wiring == sae.wiring
    with pytest.raises(ValueError, match="of TopK k can be changed after training, not 'steps'"):
        sae.at(steps=4)
    assert sae.encode_at(x, SITE).d_sae == 32 and not sae.layerwise
    with pytest.raises(ValueError, match="the dictionary does not write 'l3'"):
        sae.decode_at(sae.encode(x), "l3", x)


def test_attention_sources_need_codes_that_are_a_sum_over_heads(tiny_gpt2):
    site = "blocks.1.attn.hook_z"
    sae = quiet(tiny_gpt2, site, sk.Standardised(sk.TopK(d_sae=24, k=3)), TEXTS, tokens=96, batch_size=48).dictionary
    with pytest.raises(ValueError, match="its codes are no sum over heads"):
        sk.metrics.attention_sources(tiny_gpt2, sae, TEXTS[0], 3)


def test_within_end_to_end(tiny_gpt2):
    method = sk.EndToEnd(sk.Standardised(sk.TopK(d_sae=24, k=3)), base_weight=1)
    found = quiet(tiny_gpt2, SITE, method, TEXTS, tokens=48 * 40, batch_size=48)
    assert found.records[-1]["kl"] < found.records[0]["kl"] and found.dictionary.standardised
    assert Method.from_json(method.to_json()) == method


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sk.Standardised(16), r"Standardised goes around a method such as sk\.TopK\(d_sae=…\), found 16"),
        (lambda: sk.Standardised(sk.EndToEnd(BASES["TopK"])), r"runs the model, .*: EndToEnd\(Standardised\(…\)\)"),
        (lambda: sk.Standardised(BASES["TopK"]).build(sk.Wiring("a", "b"), {"a": 4, "b": 4}), "found the wiring a → b"),
        (lambda: sk.Standardised(BASES["TopK"]).build(sk.Wiring(["a", "b"]), {"a": 4, "b": 4}), "with each=True"),
        (lambda: built().decode(built().encode(numbers(2, 16))), r"with the mean and size of each: decode\(codes, x\)"),
        (lambda: built().encode(numbers(2, 15)), "activations of width 16 .x., found width 15"),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
