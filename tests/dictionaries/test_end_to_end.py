"""EndToEnd: its loss is that of the model with x̂ at the counted tokens, and its gradient comes back through it."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.activations.tokens import tokenize
from saekit.dictionaries import Method
from saekit.objectives import Batch, Rows, State

SITE, MLP = "blocks.0.hook_resid_post", ("blocks.0.hook_resid_pre", "blocks.0.hook_mlp_out")
TEXTS = ["the cat sat on the mat and the dog sat there", "a bat is in the", "the hen", "the dog and the other dog ran"]
SCALE = 1.7
quiet = functools.partial(sk.train, batch_size=48, dtype=torch.float32, callback=lambda _: None)


@pytest.fixture(scope="module")
def rows(tiny_gpt2: Any) -> Any:
    """Four texts of different lengths: BOS first, padding on the right."""
    found = tokenize(tiny_gpt2, TEXTS)
    assert (found.tokens[:, 0] == 0).all() and not found.mask[:, 0].any() and not found.mask[1:, -1].all()
    return found


def batch_of(model: Any, rows: Any, wiring: sk.Wiring) -> Batch:
    """As training makes it: activations divided by a scale, whole rows."""
    kept = sk.models.forward(model, rows.tokens, list(wiring.sites)).kept
    reads, writes = ({s: kept[s] / SCALE for s in some} for some in (wiring.reads, wiring.writes))
    return Batch(reads, writes, Rows(rows.tokens, rows.mask, rows.predicts), models={"": model})


def built(base: Any, wiring: sk.Wiring, **settings: Any) -> Any:
    torch.manual_seed(0)
    dictionary = sk.EndToEnd(base, **settings).build(wiring, dict.fromkeys(wiring.sites, 16))
    with torch.no_grad():
        for name, p in dictionary.named_parameters():
            p.add_(0.1 * torch.randn(p.shape) * ("threshold" not in name))
    return dictionary


def by_hooks(model: Any, rows: Any, site: str, x_hat: torch.Tensor) -> torch.Tensor:
    """Logits of the bridge with x̂ at counted tokens, set by the bridge's own hooks."""

    def hook(h: torch.Tensor, hook: Any) -> torch.Tensor:
        return torch.where(rows.mask[..., None], x_hat, h)

    with model.hooks(fwd_hooks=[(site, hook)]), torch.no_grad():
        return model(rows.tokens)


def expected_loss(kind: str, spliced: torch.Tensor, clean: torch.Tensor, rows: Any) -> float:
    """A prediction is made at a counted token that another token of its text follows; a mean over all of them."""
    found = []
    for row, mask, one, other in zip(rows.tokens, rows.mask, spliced.double(), clean.double(), strict=True):
        counted = mask.nonzero()[:, 0].tolist()
        for at in counted[:-1]:
            q, p = one[at].log_softmax(0), other[at].log_softmax(0)
            found.append(float((p.exp() * (p - q)).sum()) if kind == "kl" else -float(q[row[at + 1]]))
    return sum(found) / len(found)


BASES = {
    "TopK": sk.TopK(d_sae=24, k=3),
    "BatchTopK": sk.BatchTopK(d_sae=24, k=3),
    "JumpReLU": sk.JumpReLU(d_sae=24, l0=4),
    "MatchingPursuit": sk.MatchingPursuit(d_sae=24, steps=3),
}


@pytest.mark.parametrize("wiring", [sk.Wiring(SITE), sk.Wiring(*MLP)], ids=["SAE", "transcoder"])
@pytest.mark.parametrize("kind", ["kl", "ce"])
def test_the_loss_by_hand(tiny_gpt2, rows, kind, wiring):
    dictionary, batch = built(BASES["TopK"], wiring, loss=kind, base_weight=0.25), batch_of(tiny_gpt2, rows, wiring)
    state = State(step=3, steps=4, scales=dict.fromkeys(wiring.sites, SCALE))
    loss, own = dictionary.loss(batch, state), dictionary.base.loss(batch, state)
    x_hat = dictionary.base(batch.reads[wiring.reads[0]]).detach() * SCALE
    spliced = by_hooks(tiny_gpt2, rows, wiring.writes[0], x_hat)
    clean = sk.models.forward(tiny_gpt2, rows.tokens, logits=True).logits
    expected = expected_loss(kind, spliced, clean, rows)
    assert float(loss.parts[kind]) == pytest.approx(expected, rel=1e-4)
    assert float(loss.total.detach()) == pytest.approx(expected + 0.25 * float(own.total.detach()), rel=1e-4)
    assert torch.equal(loss.error, own.error) and len(loss.error) == int(rows.mask.sum())
    other = expected_loss(kind, by_hooks(tiny_gpt2, rows, wiring.writes[0], x_hat * 0), clean, rows)
    assert abs(other - expected) > 1e-2, "what is spliced in matters here"


@pytest.mark.parametrize("name", BASES)
def test_what_is_spliced_in_is_what_the_base_makes_of_the_counted_tokens(tiny_gpt2, rows, name):
    """A batch's selection (BatchTopK's) is not spent on BOS and padding, whose x̂ nobody sees."""
    wiring = sk.Wiring(SITE)
    dictionary, batch = built(BASES[name], wiring, base_weight=0.0).train(), batch_of(tiny_gpt2, rows, wiring)
    loud = batch.reads[SITE] * torch.where(rows.mask, 1, 100)[..., None]
    batch = Batch({SITE: loud}, {SITE: loud}, batch.rows, models=batch.models)
    loss = dictionary.loss(batch, State(step=3, steps=4, scales={SITE: SCALE}))
    x_hat = torch.zeros_like(loud)
    x_hat[rows.mask] = dictionary.base(batch.flat().reads[SITE]).detach() * SCALE
    clean = sk.models.forward(tiny_gpt2, rows.tokens, logits=True).logits
    expected = expected_loss("kl", by_hooks(tiny_gpt2, rows, SITE, x_hat), clean, rows)
    assert float(loss.total.detach()) == pytest.approx(expected, rel=1e-4)


def test_the_gradient_comes_from_the_model(tiny_gpt2, rows):
    """∂KL/∂x̂ through the bridge, times what x̂ is made of: for the decoder's bias and rows, base_weight = 0."""
    wiring = sk.Wiring(SITE)
    dictionary, batch = built(BASES["TopK"], wiring, base_weight=0.0), batch_of(tiny_gpt2, rows, wiring)
    dictionary.loss(batch, State(scales={SITE: SCALE})).total.backward()
    x = batch.reads[SITE][rows.mask]
    z = dictionary.encode_dense(x).detach()
    leaf = dictionary(x).detach().requires_grad_()
    h = torch.zeros_like(batch.reads[SITE]).masked_scatter(rows.mask[..., None], leaf)

    def hook(arrived: torch.Tensor, hook: Any) -> torch.Tensor:
        return torch.where(rows.mask[..., None], h * SCALE, arrived)

    clean = sk.models.forward(tiny_gpt2, rows.tokens, logits=True).logits[rows.predicts]
    with tiny_gpt2.hooks(fwd_hooks=[(SITE, hook)]):
        logits = tiny_gpt2(rows.tokens)[rows.predicts]
    p, q = clean.log_softmax(-1), logits.log_softmax(-1)
    (g,) = torch.autograd.grad((p.exp() * (p - q)).sum() / len(p), leaf)
    close = functools.partial(torch.testing.assert_close, rtol=1e-3, atol=1e-6)
    close(dictionary.decoder.directions.grad, z.T @ g)
    s = (z != 0) * (g @ dictionary.decoder.directions.detach().T)
    close(dictionary.encoder.bias.grad, s.sum(0))
    close(dictionary.encoder.directions.grad, s.T @ (x - dictionary.decoder_bias.detach()))
    assert dictionary.encoder.bias.grad.abs().max() > 1e-4
    assert all(p.grad is None for p in tiny_gpt2.parameters()), "the model learns nothing"


def test_bos_and_padding_keep_their_own(tiny_gpt2, rows):
    """Whatever stands there in the batch, the loss is the same."""
    wiring = sk.Wiring(SITE)
    dictionary, batch = built(BASES["TopK"], wiring), batch_of(tiny_gpt2, rows, wiring)
    state = State(scales={SITE: SCALE})
    spoiled = torch.where(rows.mask[..., None], batch.reads[SITE], 1e3)
    other = Batch({SITE: spoiled}, {SITE: spoiled}, batch.rows, models=batch.models)
    assert torch.equal(dictionary.loss(batch, state).total, dictionary.loss(other, state).total)


def test_the_decoders_bias_begins_at_the_mean_of_counted_tokens(tiny_gpt2, rows):
    wiring = sk.Wiring(SITE)
    dictionary, batch = built(BASES["TopK"], wiring), batch_of(tiny_gpt2, rows, wiring)
    dictionary.initialise(batch, State())
    x = batch.reads[SITE]
    assert torch.allclose(dictionary.decoder_bias, x[rows.mask].mean(0), atol=1e-5)
    assert not torch.allclose(x.flatten(0, 1).mean(0), x[rows.mask].mean(0), atol=0.01)


def test_texts_of_one_token_predict_nothing(tiny_gpt2):
    """Then the base's own loss is all there is."""
    single, wiring = tokenize(tiny_gpt2, ["a", "s"]), sk.Wiring(SITE)
    dictionary, batch = built(BASES["TopK"], wiring), batch_of(tiny_gpt2, single, wiring)
    assert single.mask.sum() == 2 and not single.predicts.any()
    state = State(scales={SITE: SCALE})
    own = float(dictionary.base.loss(batch, state).total.detach())
    assert float(dictionary.loss(batch, state).total.detach()) == pytest.approx(10 * own, rel=1e-6)


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat")]


def test_training_brings_the_predictions_back(tiny_gpt2, corpus):
    """The same TopK beside it, trained on the squared error alone, ends with a larger KL."""
    settings = {"tokens": 48 * 150, "lr": 1e-2, "seed": 1}
    ours = quiet(tiny_gpt2, SITE, sk.EndToEnd(BASES["TopK"], base_weight=0.02), corpus, **settings)
    plain = quiet(tiny_gpt2, SITE, BASES["TopK"], corpus, **settings)
    assert ours.records[-1]["kl"] < 0.5 * ours.records[0]["kl"]
    kl = [sk.evaluate(tiny_gpt2, run.dictionary, corpus).kl_recovered for run in (ours, plain)]
    print(f"KL recovered: end to end {kl[0]:.3f}, squared error {kl[1]:.3f}")
    assert kl[0] > kl[1]


def test_it_is_resumed_to_the_same_bits_and_is_its_base_afterwards(tiny_gpt2, corpus, tmp_path):
    method = sk.EndToEnd(BASES["JumpReLU"], loss="ce", base_weight=0.5)

    def stop(progress):
        if progress.tokens == 5 * 48:
            raise KeyboardInterrupt

    train = functools.partial(quiet, tiny_gpt2, SITE, method, corpus, tokens=12 * 48)
    whole = train()
    assert not train(out=tmp_path, callback=stop).finished
    resumed = train(out=tmp_path)
    for name, tensor in whole.dictionary.state_dict().items():
        assert torch.equal(resumed.dictionary.state_dict()[name], tensor), name
    loaded = sk.load_dictionary(tmp_path / "dictionary")
    assert loaded.method == method and loaded.provenance.model_hash == tiny_gpt2.model_hash
    view = sk.EndToEnd(BASES["TopK"]).build(sk.Wiring(SITE), {SITE: 16})
    view.provenance = loaded.provenance
    assert view.at(k=2).provenance == loaded.provenance and view.at(k=2).method.k == 2


@pytest.mark.parametrize("name", BASES)
@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_spliced_edited_and_rescaled_it_is_its_base(tiny_gpt2, rows, name):
    ours = built(BASES[name], sk.Wiring(SITE)).eval()
    x = sk.models.forward(tiny_gpt2, rows.tokens, SITE).kept[SITE][rows.mask]
    sk.measure_latent_max(None, ours, {SITE: x})
    latent = int(ours.latent_max.argmax())
    plain, found = tiny_gpt2(rows.tokens), []
    for sae in (ours, ours.base):
        with sk.spliced(tiny_gpt2, sae), torch.no_grad():
            found.append(tiny_gpt2(rows.tokens))
        with sk.edited(tiny_gpt2, sk.Edit(sae, latent, "ablate")), torch.no_grad():
            found.append(tiny_gpt2(rows.tokens))
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
    assert not any(torch.allclose(logits, plain, atol=1e-2) for logits in found)
    z, x_hat = ours.encode_dense(x), ours(x)
    ours.rescale({SITE: 4.0})
    assert torch.equal(ours.encode_dense(4 * x), 4 * z) and torch.equal(ours(4 * x), 4 * x_hat)


@pytest.mark.parametrize("lacks", ["rows", "models"])
def test_a_batch_without_the_model_or_its_rows_is_refused(tiny_gpt2, rows, lacks):
    wiring = sk.Wiring(SITE)
    batch = replace(batch_of(tiny_gpt2, rows, wiring), **{lacks: None})
    with pytest.raises(ValueError, match=f"this batch has no {lacks}"):
        built(sk.TopK(d_sae=24, k=3), wiring).loss(batch, State(scales={SITE: SCALE}))


def test_it_goes_through_json():
    method = sk.EndToEnd(sk.TopK(d_sae=8, k=2), loss="ce", base_weight=0.5)
    assert method.d_sae == 8 and Method.from_json(method.to_json()) == method
    twice = sk.EndToEnd(method)
    assert Method.from_json(twice.to_json()) == twice and hash(twice) == hash(sk.EndToEnd(method))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda m: quiet(torch.ones(60, 4), None, sk.EndToEnd(sk.TopK(d_sae=8, k=2))), "EndToEnd needs models, rows,"),
        (
            lambda m: sk.EndToEnd(sk.TopK(d_sae=8, k=2), loss="mse"),
            "loss cannot be 'mse'; the closest is 'ce' .of kl, ce",
        ),
        (lambda m: sk.EndToEnd(sk.TopK(d_sae=8, k=2), base_weight=-1.0), "at least 0, found -1"),
        (lambda m: sk.EndToEnd(sk.ITDA(d_sae=8)), "trains by gradient, which ITDA is not made by"),
        (lambda m: sk.EndToEnd(16), r"goes around a method such as sk\.TopK\(d_sae=…\), found 16"),
        (
            lambda m: quiet({"a": m}, f"a:{SITE}", sk.EndToEnd(sk.TopK(d_sae=24, k=2)), TEXTS, tokens=96),
            "splices a dictionary into one model",
        ),
    ],
)
def test_refused(tiny_gpt2, wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(tiny_gpt2)
