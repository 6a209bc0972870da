"""Every number of a store against a plain recomputation in float64, over random dictionaries of several kinds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import saekit as sk
from saekit.dictionaries import PCA, LinearDecoder, LinearEncoder
from saekit.features.building import near_misses
from saekit.features.schema import SAME_AFTER, SAME_BEFORE, WINDOW

SITE = "blocks.0.hook_resid_post"
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "he",
    "is",
    "in",
    "to",
    "dog",
    "and",
    "the",
    "cat",
    "is",
    "red",
    "or",
    "wet",
]
KINDS = ["topk", "relu", "pca", "pca all", "transcoder"]


def texts(seed: int, n: int = 24) -> list[str]:
    """Random sentences, one of them longer than the context, some of them twice."""
    rng = np.random.default_rng(seed)
    made = [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(n)]
    return [*made, " ".join(rng.choice(WORDS, 60)), made[0], made[1]]


def dictionary(model, kind: str, seed: int):
    torch.manual_seed(seed)
    if kind == "transcoder":
        wiring = sk.Wiring.transcoder(0)
        sae = Transcoding(d_sae=23).build(wiring, dict.fromkeys(wiring.sites, 16))
        torch.nn.init.normal_(sae.threshold, 1.0)
    elif kind.startswith("pca"):
        acts = sk.activations.harvest(model, texts(seed), [SITE])
        pca = PCA(d_sae=12, k=None if kind == "pca all" else 3)
        sae = sk.train({SITE: acts.flat(SITE)}, None, pca, callback=lambda _: None).dictionary
    else:
        configuration = sk.TopK(d_sae=23, k=4) if kind == "topk" else sk.ReLU(d_sae=23)
        sae = configuration.build(sk.Wiring(SITE), {SITE: 16})
        with torch.no_grad():
            sae.encoder_bias.normal_(0.0 if kind == "topk" else -3.0, 1.0)
    with torch.no_grad():
        if kind == "transcoder":
            sae.threshold[5] = 1e4  # never fires
        elif not kind.startswith("pca"):
            sae.encoder_bias[5] = -1e4
    return sae.eval()


@dataclass(frozen=True)
class Transcoding(sk.Method):
    def build(self, wiring, widths):
        encoder, decoder = LinearEncoder.random(self.d_sae, [16]), LinearDecoder.random(self.d_sae, [16])
        return Transcoder(self, wiring, widths, encoder, decoder)


class Transcoder(sk.Dictionary):
    """A test's own: reads what goes into an MLP, writes what comes out, and knows no pre-activations."""

    def __init__(self, method, *given):
        super().__init__(method, *given)
        self.threshold = torch.nn.Parameter(torch.zeros(method.d_sae))

    def encode(self, x):
        return sk.SparseCodes.from_dense(torch.relu(self.join_reads(x) @ self.encoder_directions.T - self.threshold))


class Truth:
    """Dense codes and where each token came from, worked out once more."""

    def __init__(self, model, sae, corpus) -> None:
        acts = sk.activations.harvest(model, corpus, sae.reads)
        self.x = x = {site: acts.flat(site) for site in sae.reads}
        self.texts = corpus
        self.z = sae.encode_dense(x).detach().double().numpy()
        rows = acts.rows
        kept = rows.positions >= 0
        kept[:, 0] = True
        place = (kept.reshape(-1).cumsum(0) - 1).view_as(kept)
        self.place = place[rows.mask].numpy()
        self.document = rows.documents[:, None].expand_as(kept)[rows.mask].numpy()
        self.token = rows.tokens[kept].numpy()
        self.row = torch.arange(len(rows.tokens))[:, None].expand_as(kept)[kept].numpy()

    def text(self, place: int) -> tuple:
        """The tokens around a place that lie in its row, where missing ones are −1."""
        at = range(place - SAME_BEFORE, place + SAME_AFTER + 1)
        inside = [0 <= p < len(self.row) and self.row[p] == self.row[place] for p in at]
        return tuple(int(self.token[p]) if ok else -1 for p, ok in zip(at, inside, strict=True))


@pytest.fixture(scope="module", params=[(kind, seed) for seed in (0, 1) for kind in KINDS], ids=str)
def made(request, tiny_llama, tmp_path_factory, one_thread):
    kind, seed = request.param
    sae = dictionary(tiny_llama, kind, seed)
    folder = tmp_path_factory.mktemp("stores") / "store"
    settings = {"top": 5, "random": 6, "per_band": 3, "loss_examples": 2, "loss_effects": "all"}
    store = sk.FeatureStore.build(tiny_llama, sae, texts(seed), folder, **settings)
    return store, Truth(tiny_llama, sae, texts(seed)), sae


def test_moments_extremes_and_density(made) -> None:
    store, truth, _ = made
    n = len(truth.z)
    assert store.tokens == n
    for row in store.latents(all=True).itertuples():
        z = truth.z[:, row.latent]
        fired = z[z != 0]
        assert row.firings == len(fired) and row.density == len(fired) / n
        assert row.max_activation == pytest.approx(max(z.max(), 0), rel=1e-6)
        assert row.min_activation == pytest.approx(min(z.min(), 0), rel=1e-6)
        if not len(fired):
            own = store.row(row.latent)
            assert own["mean"] is None and own["histogram"] is None and own["quantiles"] is None
            continue
        away = fired - fired.mean()
        assert row.mean == pytest.approx(fired.mean(), rel=1e-5, abs=1e-6)
        assert row.std == pytest.approx(fired.std(), rel=1e-4, abs=1e-6)
        if fired.std() > 1e-6:
            assert row.skewness == pytest.approx((away**3).mean() / fired.std() ** 3, rel=1e-3, abs=1e-4)
            assert row.kurtosis == pytest.approx((away**4).mean() / fired.std() ** 4, rel=1e-3, abs=1e-4)
    assert (store.latents().firings == 0).any() or store.d_sae == 12


def test_histograms_intervals_and_quantiles(made) -> None:
    store, truth, _ = made
    for row in store.latents(all=True).itertuples():
        z = truth.z[:, row.latent].astype(np.float32).astype(float)
        fired = z[z != 0]
        if not len(fired):
            continue
        answer = store.histogram(row.latent).frame()
        edges = np.append(answer["low"], answer["high"].iloc[-1])
        assert sum(row.histogram) == len(fired)
        apart = np.min(np.abs(fired[:, None] - edges[None, 1:-1]), axis=1) > 1e-5  # not on an edge
        counted = np.histogram(fired[apart], edges)[0]
        assert np.abs(np.array(row.histogram) - counted).sum() == (~apart).sum()
        strength = np.abs(fired)
        assert row.quantiles == pytest.approx(np.quantile(strength, np.linspace(0, 1, 6)), rel=1e-5)
        bands = np.minimum((strength / strength.max() * 5).astype(int), 4)
        apart = np.abs(strength / strength.max() * 5 - np.round(strength / strength.max() * 5)) > 1e-5
        assert np.abs(np.array(row.intervals) - np.bincount(bands, minlength=5)).sum() <= 2 * (~apart).sum()


def test_top_examples_are_the_strongest_one_a_document_and_each_text_once(made) -> None:
    store, truth, _ = made
    for latent in range(store.d_sae):
        z = truth.z[:, latent]
        best: dict[int, int] = {}
        for i in np.flatnonzero(z):  # ascending places: of equals the first
            d = truth.document[i]
            if d not in best or abs(np.float32(z[i])) > abs(np.float32(z[best[d]])):
                best[d] = i
        order = sorted(best.values(), key=lambda i: (-abs(np.float32(z[i])), truth.place[i]))
        expected, seen = [], set()
        for i in order[:15]:
            text = truth.text(truth.place[i])
            if text not in seen:
                seen.add(text)
                expected.append(i)
        found = store.examples(latent, "top")
        assert [e["value"] for e in found] == pytest.approx([z[i] for i in expected[:5]], rel=1e-5)
        hidden = sum(e["copies"] for e in found)
        assert hidden == sum(
            truth.text(truth.place[i]) in {truth.text(truth.place[k]) for k in expected[:5]} for i in order[:15]
        ) - len(found)


def test_examples_show_the_text_and_the_activations_around_their_peak(made) -> None:
    store, truth, _ = made
    column = {int(p): i for i, p in enumerate(truth.place)}
    rows = store.sql("select * from examples order by latent, kind, band, rank")
    for latent in range(store.d_sae):
        for kind in ("top", "random", "interval", "quantile", "near"):
            own = rows[(rows.latent == latent) & (rows.kind == kind)]
            if kind not in ("top", "near"):  # those drawn at random stand in the order of their strength
                own = own.iloc[np.lexsort((own["rank"], -own.value.abs(), own.band))]
            for example, place in zip(store.examples(latent, kind), own.place, strict=True):
                window = [
                    p
                    for p in range(place - WINDOW["before"], place + WINDOW["after"] + 1)
                    if 0 <= p < len(truth.row) and truth.row[p] == truth.row[place]
                ]
                assert [t for part in example["tokens"] for t in part] == [int(truth.token[p]) for p in window]
                z = [truth.z[column[p], latent] if p in column else 0.0 for p in window]
                at = 0
                for tokens, value in zip(example["tokens"], example["values"], strict=True):
                    part = z[at : at + len(tokens)]
                    assert value == pytest.approx(max(part, key=abs), rel=1e-5, abs=1e-7)
                    at += len(tokens)
                peak = truth.z[column[place], latent]
                assert peak == 0 if kind == "near" else peak == pytest.approx(example["value"], rel=1e-5)


def test_near_misses_are_the_silent_tokens_closest_to_firing_one_a_document(made) -> None:
    store, truth, sae = made
    u = near_misses.pre_activations(sae, truth.x).detach().double().numpy()
    if sae.signed:
        assert (u >= 0).all()
        assert u[truth.z != 0] == pytest.approx(np.abs(truth.z[truth.z != 0]), rel=1e-4, abs=1e-5)
    for latent in range(store.d_sae):
        fires = truth.z[:, latent] != 0
        silent = np.where(fires, -np.inf, u[:, latent])
        best = sorted((silent[truth.document == d].max() for d in np.unique(truth.document)), reverse=True)[
            : near_misses.MOST
        ]
        weakest = u[fires, latent].min() if fires.any() else 0.0
        found = [example["value"] for example in store.examples(latent, "near")]
        assert found == pytest.approx([v - weakest for v in best if np.isfinite(v)], rel=1e-3, abs=1e-4)


def test_draws_are_no_first_ones_and_follow_the_seed(made, tiny_llama, tmp_path) -> None:
    store, truth, sae = made
    drawn = {latent: sorted(e["place"] for e in _random(store, latent)) for latent in range(store.d_sae)}
    many = [latent for latent in drawn if (truth.z[:, latent] != 0).sum() > 20]
    first = {latent: truth.place[np.flatnonzero(truth.z[:, latent])[:6]].tolist() for latent in many}
    assert len(many) >= 2 and sum(drawn[latent] == first[latent] for latent in many) <= 1
    settings = {"top": 5, "random": 6, "per_band": 3, "loss_examples": 0, "seed": 1}
    other = sk.FeatureStore.build(tiny_llama, sae, truth.texts, tmp_path / "other", **settings)
    assert sum(sorted(e["place"] for e in _random(other, latent)) != drawn[latent] for latent in many) >= len(many) - 1


def _random(store, latent: int) -> list[dict]:
    return store.database.rows("select place from examples where kind = 'random' and latent = ?", [latent])


def test_drawn_examples_lie_in_their_bands_and_are_enough(made) -> None:
    store, truth, _ = made
    for latent in range(store.d_sae):
        view = store.view(latent)
        firings = int((truth.z[:, latent] != 0).sum())
        assert len(view["examples"]["random"]) == min(6, firings)
        for kind in ("interval", "quantile"):
            bands = view["examples"][kind]
            assert sum(band["count"] for band in bands) == firings
            for band in bands:
                assert len(band["examples"]) == min(3, band["count"])
                for example in band["examples"]:
                    assert band["low"] * (1 - 1e-5) <= abs(example["value"]) <= band["high"] * (1 + 1e-5)


def test_neighbours_by_cosine_and_by_coactivation(made) -> None:
    store, truth, sae = made
    d = torch.nn.functional.normalize(sae.decoder_directions.detach().double(), dim=1).numpy()
    fires = (truth.z != 0).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        phi = np.corrcoef(fires.T)
    cosine = d @ d.T
    for latent in range(store.d_sae):
        others = np.delete(np.arange(store.d_sae), latent)
        found = {row["latent"]: row for row in store.neighbours(latent).rows}
        nearest = np.sort(cosine[latent, others])[::-1][:8]
        assert sorted((row["cosine"] for row in found.values()), reverse=True)[:8] == pytest.approx(nearest, abs=1e-5)
        together = np.sort(np.nan_to_num(phi[latent, others], nan=-1))[::-1][:8]
        own = np.array([-1 if row["phi"] is None else row["phi"] for row in found.values()])
        assert np.sort(own)[::-1][: (together > 1e-9).sum()] == pytest.approx(together[together > 1e-9], abs=1e-5)
        for row in found.values():
            assert row["cosine"] == pytest.approx(cosine[latent, row["latent"]], abs=1e-5)
            expected = phi[latent, row["latent"]]
            assert row["phi"] is None if np.isnan(expected) else row["phi"] == pytest.approx(expected, abs=1e-5)
