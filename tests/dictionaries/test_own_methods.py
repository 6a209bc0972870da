"""What the contract bears: methods that need labels, gradients, u of many steps, a norm for each token with a skip, any
of several sites, one site after the other, two models, tied weights. Each trains, resumes, saves, loads, edits and is
spliced, written outside saekit and without a change in it."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import own_methods as own
import pytest
import torch

import saekit as sk

POST = "blocks.1.hook_resid_post"
ALL = [f"blocks.{layer}.hook_resid_{end}" for layer in (0, 1) for end in ("pre", "post")]
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat", "hen")]
SETTINGS: dict[str, Any] = {"tokens": 6400, "batch_size": 64, "lr": 5e-3, "seed": 3}
SINGLE = sk.Wiring(POST)


def quiet(progress: Any) -> None: ...


def stop(progress: Any) -> None:
    if progress.tokens > 3000:
        raise KeyboardInterrupt


def labelled() -> sk.Corpus:
    """Every "cat" is a span of the concept animal."""

    def documents() -> Any:
        for text in TEXTS:
            at = text.index("cat")
            yield sk.Document(text, "plain", (sk.Span(at, at + 3, "animal"),))

    return sk.Corpus(list(documents()), name="cats", concepts=["animal"])


@pytest.fixture(scope="module", autouse=True)
def small_chunks(one_thread: None) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 1024)
        yield


@pytest.fixture(scope="module")
def models(tiny_gpt2: Any, tiny_gpt2_folder: Path) -> dict[str, Any]:
    """The tiny model, and a copy whose second block was moved a little."""
    other = sk.load_model(tiny_gpt2_folder, device="cpu")
    with torch.no_grad():
        for name, parameter in other.original_model.named_parameters():
            if ".h.1." in name or ".1." in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    other.model_hash = "another"
    return {"a": tiny_gpt2, "b": other}


CASES: dict[str, tuple[Any, sk.Wiring, dict[str, Any]]] = {
    "labels": (own.OwnLabelled(d_sae=32, k=4), SINGLE, {"labels": ["animal"]}),
    "gradients": (own.OwnGradient(d_sae=32, k=4), SINGLE, {}),
    "u over 50 steps": (own.OwnBiasAdaptation(d_sae=32), SINGLE, {}),
    "norm and skip": (own.OwnNormed(d_sae=32, k=4, skip=True), SINGLE, {}),
    "any of four sites": (sk.TopK(d_sae=32, k=4), sk.Wiring(ALL, each=True), {}),
    "cross-layer": (own.OwnCrossLayer(d_sae=48, k=4), sk.Wiring.cross_layer([0, 1]), {}),
    "two models": (own.OwnDiffing(d_sae=32), sk.Wiring.crosscoder(POST, models=("a", "b")), {}),
    "tied": (own.OwnTied(d_sae=32), SINGLE, {}),
    "transcoder": (sk.TopK(d_sae=32, k=4), sk.Wiring.transcoder(1), {}),
    "skip transcoder": (sk.TopK(d_sae=32, k=4, skip=True), sk.Wiring.transcoder(1), {}),
    "crosscoder": (sk.TopK(d_sae=32, k=4), sk.Wiring.crosscoder([0, 1]), {}),
    "heads": (sk.TopK(d_sae=32, k=4), sk.Wiring("blocks.1.attn.hook_z"), {}),
}


@pytest.fixture(scope="module")
def run_of(models: dict[str, Any]) -> Any:
    """run_of(name, **more): a run of a case."""

    def train(name: str, **more: Any) -> sk.Run:
        method, wiring, needed = CASES[name]
        model: Any = models if name == "two models" else models["a"]
        source: Any = labelled() if needed else TEXTS
        return sk.train(model, wiring, method, source, **SETTINGS | {"callback": quiet} | needed | more)

    return train


@pytest.fixture(scope="module")
def trained(run_of: Any) -> dict[str, sk.Run]:
    return {name: run_of(name) for name in CASES}


def activations(models: dict[str, Any], sae: sk.Dictionary) -> dict[str, torch.Tensor]:
    """By site, at the same tokens."""
    found = {}
    for site in sae.wiring.sites:
        acts = sk.activations.harvest(models[site.model or "a"], TEXTS, site.hook)
        found[site] = acts.flat(site.hook)
    return found


def variance(x: torch.Tensor, x_hat: torch.Tensor) -> float:
    return float(1 - (x - x_hat).square().sum() / (x - x.mean(0)).square().sum())


@pytest.mark.parametrize("name", CASES)
def test_it_learns_and_is_folded(trained: dict[str, sk.Run], models: dict[str, Any], name: str) -> None:
    """The error falls, and on activations as the model gives them the dictionary explains what its run says."""
    run = trained[name]
    sae, curve = run.dictionary, run.metrics["explained_variance"]
    assert run.finished and curve.iloc[-1] > max(0.25, curve.iloc[0] + 0.05)
    x = activations(models, sae)
    read, written = ({site: x[site] for site in some} for some in (sae.reads, sae.writes))
    x_hat = sae(read)
    found = x_hat if isinstance(x_hat, dict) else {sae.writes[0]: x_hat}
    shares = [variance(written[site], found[site]) for site in found]
    assert all(share > (0.1 if sae.wiring.each else 0.2) for share in shares), shares
    if sae.wiring.each:
        assert set(found) == set(ALL) and bool(sae.at(site=POST).encode(x[POST]).l0.sum())
    else:
        assert torch.allclose(sae.latent_max, sae.encode_dense(read).abs().amax(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_it_resumes_saves_and_loads(trained: dict[str, sk.Run], run_of: Any, name: str, tmp_path: Path) -> None:
    whole = trained[name].dictionary
    assert not run_of(name, out=tmp_path, callback=stop).finished
    resumed = run_of(name, out=tmp_path)
    loaded = sk.load_dictionary(tmp_path / "dictionary")
    for sae in (resumed.dictionary, loaded):
        state = whole.state_dict()
        assert list(sae.state_dict()) == list(state) and sae.method == whole.method and sae.wiring == whole.wiring
        assert all(torch.equal(tensor, state[key]) for key, tensor in sae.state_dict().items())
    assert resumed.records[-1]["loss"] == trained[name].records[-1]["loss"]


@pytest.mark.parametrize("name", [name for name in CASES if name != "two models"])
def test_it_is_edited_and_spliced(trained: dict[str, sk.Run], models: dict[str, Any], name: str) -> None:
    """An ablated latent is gone from the model, where it was; spliced, the model is another but no stranger."""
    sae, model = trained[name].dictionary, models["a"]
    site = POST if sae.wiring.each else None
    tokens = sk.activations.tokenize(model, TEXTS[:2]).tokens
    x = activations(models, sae)
    codes = sae.encode(x[POST] if sae.wiring.each else {s: x[s] for s in sae.reads})
    strongest = int(codes.indices[codes.values.abs().argmax()])
    clean = model(tokens)
    with sk.edited(model, sk.Edit(sae, strongest, "ablate", site=site)):
        changed = model(tokens)
    assert not torch.allclose(clean, changed, atol=1e-3) and bool(torch.isfinite(changed).all())
    with sk.spliced(model, sae):
        spliced = model(tokens)
    with sk.spliced(model, sae, error=True):
        assert torch.allclose(model(tokens), clean, atol=1e-4)
    assert torch.equal(model(tokens), clean)
    assert 1e-4 < float((spliced - clean).detach().abs().mean()) < 3 * float(clean.detach().std())


BROWSED = ("labels", "gradients", "norm and skip", "tied", "transcoder", "skip transcoder", "heads")


@pytest.mark.parametrize("name", BROWSED)
def test_it_is_evaluated_and_browsed(
    trained: dict[str, sk.Run], models: dict[str, Any], name: str, tmp_path: Path
) -> None:
    sae = trained[name].dictionary
    report = sk.evaluate(models["a"], sae, TEXTS, ce_tokens=200)
    assert report.explained_variance > 0.2 and report.l0 > 0.5 and report.recovered is not None
    store = sk.FeatureStore.build(models["a"], sae, TEXTS, tmp_path / "store", top=2, random=2, per_band=1)
    fired = store.latents().query("density > 0")
    assert len(fired) > 3
    drawn = store.feature(int(fired["latent"].iloc[0]))._repr_html_()
    assert "<" in drawn


def test_one_dictionary_of_four_sites_is_evaluated_at_one_of_them(trained: Any, models: Any) -> None:
    sae = trained["any of four sites"].dictionary
    with pytest.raises(ValueError, match=r"for each of blocks.0.hook_resid_pre, .*: take sae.at\(site='blocks.0"):
        sk.evaluate(models["a"], sae, TEXTS)
    at = sae.at(site=POST)
    assert at.site == POST and sk.evaluate(models["a"], at, TEXTS, ce_tokens=200).explained_variance > 0.5


def test_the_label_is_learned() -> None:
    """On micro the pre-activation of latent 0 tells "cat" from the rest: the share of pairs in order, .5 by chance."""
    model, corpus = sk.load_model("micro", device="cpu"), labelled()
    run = sk.train(model, POST, own.OwnLabelled(d_sae=256, k=4), corpus, labels=["animal"], callback=quiet, **SETTINGS)
    acts = sk.activations.harvest(model, TEXTS, POST)
    labels = sk.activations.concept_mask(acts.rows, list(corpus), "animal")[acts.mask]
    u = run.dictionary.pre_activations(acts.flat(POST), torch.tensor([0]))[:, 0]
    assert 0 < int(labels.sum()) < len(labels) / 4
    assert float((u[labels][:, None] > u[~labels]).double().mean()) > 0.99


def test_biases_follow_frequencies(trained: Any) -> None:
    """Without a gradient: some were lowered, every 50 steps."""
    bias = trained["u over 50 steps"].dictionary.encoder_bias
    assert bool((bias < 0).any()) and len(bias.unique()) > 3


def test_the_two_models_are_told_apart(trained: Any, models: Any) -> None:
    sae = trained["two models"].dictionary
    assert sae.provenance.model_hash == {"a": models["a"].model_hash, "b": "another"}
    norms = torch.stack([sae.decoder_directions_at(site).norm(dim=1) for site in sae.writes])
    assert float((norms[0] / norms.sum(0)).std()) > 0.005
    with pytest.raises(ValueError, match="made on the models a, b together"):
        sk.evaluate(models["a"], sae, TEXTS)


def test_a_cross_layer_dictionary_never_reads_a_later_layer(trained: Any, models: Any) -> None:
    sae = trained["cross-layer"].dictionary
    x = {site: h[:40] for site, h in activations(models, sae).items()}
    moved = copy.copy(x)
    moved[sae.reads[1]] = x[sae.reads[1]] + 1
    before, after = sae({s: x[s] for s in sae.reads}), sae({s: moved[s] for s in sae.reads})
    assert torch.equal(before[sae.writes[0]], after[sae.writes[0]])
    assert not torch.allclose(before[sae.writes[1]], after[sae.writes[1]])


def test_a_longer_first_look_at_rows_of_texts(models: Any) -> None:
    """Batches of rows are not equally long."""
    method = sk.EndToEnd(own.OwnFirstLook(d_sae=32, k=4))
    assert method.sample == 300
    texts = [" ".join(["the cat sat"] * n) for n in range(1, 9)]
    run = sk.train(models["a"], POST, method, texts, tokens=256, batch_size=64, callback=quiet)
    assert int(run.dictionary.base.looked_at) == 320


@pytest.mark.parametrize("source", ["model", "array", "store"])
def test_a_longer_first_look_takes_nothing_from_training(models: Any, source: str, tmp_path: Path) -> None:
    """Five batches of 64 are looked at for 300 tokens; the batches that are trained on are those of TopK itself."""
    where: tuple[Any, ...] = (models["a"], POST, TEXTS)
    if source == "array":
        where = (torch.randn(500, 16, generator=torch.Generator().manual_seed(0)), None, None)
    elif source == "store":
        where = (sk.activations.ActivationStore.build(models["a"], TEXTS, POST, tmp_path, tokens=300), POST, None)
    model, site, corpus = where
    settings = {"tokens": 640, "batch_size": 64, "seed": 3, "callback": quiet}
    looked, plain = (
        sk.train(model, site, kind(d_sae=32, k=4), corpus, **settings) for kind in (own.OwnFirstLook, sk.TopK)
    )
    assert int(looked.dictionary.looked_at) == 320
    spread = [1 - r.records[0]["explained_variance"] for r in (looked, plain)]
    assert spread[0] == pytest.approx(spread[1], rel=0.2) and looked.records[0]["loss"] != plain.records[0]["loss"]


def test_each_of_them_is_short() -> None:
    """At most 40 lines: a method, its dictionary, its parts."""
    source = inspect.getsource(own)
    sections = re.split(r"^# -- ", source, flags=re.M)[1:]
    lengths = {part.split(":")[0]: sum(bool(line.strip()) for line in part.splitlines()) for part in sections}
    assert len(lengths) == 8 and max(lengths.values()) <= 41, lengths  # with the line that names it
