"""Logits, logit effects, loss effects, near misses and concepts of a store against plain recomputations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import saekit as sk
from saekit.corpora import Corpus, Document, Span
from saekit.features.building.near_misses import MOST
from saekit.metrics.concepts import concept_match

TEXTS = [f"the {noun} {verb} on a {place} and he is in it to" for noun in ("cat", "dog", "man", "hat")
         for verb in ("sat", "is") for place in ("mat", "bed", "the dog")]  # fmt: skip
SITES = {"resid": ("blocks.0.hook_resid_post", "blocks.0.hook_resid_post"),
         "last": ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post"),
         "first": ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_pre"),
         "transcoder": ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")}  # fmt: skip


@pytest.fixture(scope="module", params=[(m, s) for m in ("tiny_gpt2", "tiny_llama") for s in SITES], ids="-".join)
def made(request, tmp_path_factory, one_thread):
    name, site = request.param
    model = request.getfixturevalue(name)
    torch.manual_seed(3)
    read, write = SITES[site]
    sae = sk.TopK(d_sae=19, k=4).build(sk.Wiring(read, write), {read: 16, write: 16}).eval()
    with torch.no_grad():
        sae.encoder_bias[5] = -1e4
    folder = tmp_path_factory.mktemp("stores") / "it's [a] *store*"
    settings = {"top": 4, "random": 4, "per_band": 2, "loss_effects": "all"}
    return model, sae, sk.FeatureStore.build(model, sae, TEXTS, folder, **settings)


def by_hand(model, h: np.ndarray) -> np.ndarray:
    """The direct path in float64 from the checkpoint's own weights: γ ⊙ (centred) d / s, then W_U."""
    weights = {name: p.detach().double().numpy() for name, p in model.original_model.named_parameters()}
    ends = ("ln_f.weight", "model.norm.weight", "ln_f._original_component.weight", "norm._original_component.weight")
    gamma = next(w for name, w in weights.items() if name.endswith(ends) and ".layers." not in name)
    centred = "gpt2" in type(model.original_model).__name__.lower()
    h = h - h.mean(-1, keepdims=True) if centred else h
    return (h * gamma) @ model.W_U.detach().double().numpy(), centred


def scale(model, rows: int = 16) -> float:
    """The mean root of the mean square of the last residual stream over the counted tokens of the first rows."""
    acts = sk.activations.harvest(model, TEXTS[:rows], "blocks.1.hook_resid_post")
    h = acts.flat("blocks.1.hook_resid_post").double()
    if "gpt2" in type(model.original_model).__name__.lower():
        h = h - h.mean(-1, keepdim=True)
    return float(h.pow(2).mean(-1).sqrt().mean())


def test_logits_are_the_models_own_direct_path(made) -> None:
    model, sae, store = made
    directions = sae.decoder_directions.detach().double().numpy()
    logits, _ = by_hand(model, directions)
    logits = logits / scale(model)
    for latent in range(19):
        row = store.row(latent)
        effect = logits[latent] * (row["max_activation"] or 1.0)
        size = np.abs(effect).max()
        assert row["top_logits"] == pytest.approx(np.sort(effect)[::-1][:10], abs=2e-3 * size)
        assert row["bottom_logits"] == pytest.approx(np.sort(effect)[:10], abs=2e-3 * size)
        assert effect[row["top_tokens"][0]] == pytest.approx(effect.max(), abs=2e-3 * size)
        assert sum(row["logit_histogram"]) == model.cfg.d_vocab
        assert row["logit_low"] == pytest.approx(effect.min(), abs=2e-3 * size)
        assert row["decoder_norm"] == pytest.approx(np.linalg.norm(directions[latent]), rel=1e-5)


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
def test_effects_of_firings(made) -> None:
    """On the logits of the token that follows: the direct path. On the loss: the latent ablated through the model."""
    model, sae, store = made
    logits, _ = by_hand(model, sae.decoder_directions.detach().double().numpy())
    logits = logits / scale(model)
    tokens = store.sql("select * from tokens order by place")
    fired = store.sql("select * from activations")
    shown = fired[fired.logit_effect.notna()]
    assert len(shown) > 50
    measured = 0
    for row in shown.itertuples():
        own = tokens[tokens.row == tokens.row[row.place]]
        ids = torch.tensor(own.token.to_numpy())[None].long()
        at = int(row.place - own.place.iloc[0])
        following = int(ids[0, at + 1])
        direct = row.value * logits[row.latent, following]
        assert row.logit_effect == pytest.approx(direct, abs=2e-3 * max(1.0, abs(row.value)) * np.abs(logits).max())
        if np.isnan(row.loss_effect) or measured > 40:
            continue
        measured += 1
        with torch.no_grad():
            clean = model(ids, return_type="logits")[0, at].log_softmax(-1)[following]
            with sk.edited(model, sk.Edit(sae, row.latent, "ablate", tokens=range(1, ids.shape[1]))):
                without = model(ids, return_type="logits")[0, at].log_softmax(-1)[following]
        assert row.loss_effect == pytest.approx(float(clean - without), abs=2e-4)
    assert measured > 40
    last = fired[fired.place.isin(tokens.groupby("row").place.max())]
    assert last.logit_effect.isna().all() and last.loss_effect.isna().all()


def test_the_mean_loss_effect_is_of_the_random_examples(made) -> None:
    _, _, store = made
    frame = store.sql(
        "select e.latent, avg(a.loss_effect) as mean, count(a.loss_effect) as n from examples e join activations a "
        "on e.latent = a.latent and e.place = a.place where e.kind = 'random' group by e.latent"
    ).set_index("latent")
    for latent in range(19):
        effect, n = store.loss_effect(latent).rows[0].values()
        assert n == (frame.n[latent] if latent in frame.index else 0)
        if n:
            assert effect == pytest.approx(frame["mean"][latent], rel=1e-5, abs=1e-7)
        else:
            why = "no firing drawn" if store.row(latent)["firings"] else "never fired"
            assert effect is None and why in store.view(latent)["absent"]["loss_effect"]


def test_near_misses_are_the_silent_tokens_of_largest_pre_activation_one_a_document(made) -> None:
    model, sae, store = made
    acts = sk.activations.harvest(model, TEXTS, sae.reads)
    x = {site: acts.flat(site) for site in sae.reads}
    u, z = sae.pre_activations(x).detach().double().numpy(), sae.encode_dense(x).detach().numpy()
    document = acts.rows.documents[:, None].expand_as(acts.mask)[acts.mask].numpy()
    for latent in range(19):
        silent = np.where(z[:, latent] == 0, u[:, latent], -np.inf)
        best = sorted((silent[document == d].max() for d in range(len(TEXTS))), reverse=True)[:MOST]
        fired = u[z[:, latent] != 0, latent]
        shift = fired.min() if len(fired) else 0.0
        found = [example["value"] for example in store.examples(latent, "near")]
        finite = [value - shift for value in best if np.isfinite(value)]
        assert found == pytest.approx(finite, rel=1e-4, abs=1e-4)


def test_concepts_are_those_that_concept_match_finds(tiny_llama, tmp_path, one_thread) -> None:
    torch.manual_seed(0)
    site = "blocks.0.hook_resid_post"
    sae = sk.TopK(d_sae=12, k=3).build(sk.Wiring(site), {site: 16})
    documents = []
    for i in range(160):
        text = TEXTS[i % len(TEXTS)]
        end = text.index(" ", 4)
        spans = (Span(4, end, "thing"), Span(0, 3, "article"), Span(text.index("he"), text.index("he") + 2, "person"))
        documents.append(Document(text, "a" if i % 3 else "b", spans))
    corpus = Corpus(documents, name="labelled", kinds=("a", "b"))
    store = sk.FeatureStore.build(tiny_llama, sae, corpus, tmp_path / "s", loss_examples=0)
    acts = sk.activations.harvest(tiny_llama, corpus, [site])
    z = sae.encode_dense(acts.flat(site)).detach().double()
    labels = {name: mask[acts.mask] for name, mask in sk.activations.concept_masks(acts.rows, documents).items()}
    seen, numbers = {}, []
    for document in documents:
        seen[document.kind] = seen.get(document.kind, -1) + 1
        numbers.append(seen[document.kind])
    matched = 0
    where = torch.tensor(numbers)[acts.rows.documents][:, None].expand_as(acts.mask)[acts.mask]
    for latent in range(12):
        alone = torch.zeros_like(z)
        alone[:, latent] = z[:, latent]
        expected = concept_match(sk.SparseCodes.from_dense(alone), labels, where)
        by_name = {row["concept"]: row for row in expected.rows}
        matched += len(store.concepts(latent).rows)
        for row in store.concepts(latent).rows:
            truth = by_name[row["concept"]]
            for name in ("f1", "precision", "recall"):
                assert row[name] == pytest.approx(truth[name], abs=1e-4)
            assert row["threshold"] == pytest.approx(truth["threshold"], rel=1e-5, abs=1e-6)
            fires = (z[:, latent] > 0) & (where % 2 == 1)  # the judging half
            share = float(labels[row["concept"]][fires].double().mean()) if fires.any() else 0.0
            assert row["share"] == pytest.approx(share, abs=1e-6)
    assert matched > 12
    assert set(store.sql("select distinct concept from concepts").concept) == {"thing", "article", "person"}
